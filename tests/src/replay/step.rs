//! The words of a table: what is sent, and what the answer must satisfy.

use http::Method;

/// What a client does, in its order.
pub struct Table {
    /// The client's name, for messages.
    pub client: &'static str,
    /// What it calls itself in `User-Agent`.
    pub agent: &'static str,
    /// Its requests.
    pub rows: Vec<Row>,
}

impl Table {
    /// An empty table.
    pub fn new(client: &'static str, agent: &'static str) -> Self {
        Self { client, agent, rows: Vec::new() }
    }

    /// Requests one after the other.
    #[must_use]
    pub fn then(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.rows.extend(steps.into_iter().map(|step| Row::One(Box::new(step))));
        self
    }

    /// Several sequences at once. What one of them remembers is its own.
    #[must_use]
    pub fn together(mut self, lanes: impl IntoIterator<Item = Vec<Step>>) -> Self {
        self.rows.push(Row::Together(lanes.into_iter().collect()));
        self
    }
}

/// A row of a table.
pub enum Row {
    /// One request.
    One(Box<Step>),
    /// Sequences at once.
    Together(Vec<Vec<Step>>),
}

/// What goes into a body.
#[derive(Clone)]
pub enum Payload {
    /// Nothing, and no word about it.
    None,
    /// Bytes of the material with their length; a part of them if told.
    Sized(&'static str, Option<(usize, usize)>),
    /// Bytes of the material without a length.
    Stream(&'static str),
}

/// What an answer must satisfy beside its status.
#[derive(Clone)]
pub enum Check {
    /// A header with exactly this value.
    Header(&'static str, String),
    /// A header that must not be there.
    Absent(&'static str),
    /// `Location` is remembered under this word.
    Location(&'static str),
    /// `Location` ends in this.
    LocationEnds(String),
    /// The target of `Link` with `rel="next"` is remembered under this word.
    Next(&'static str),
    /// No further page.
    Last,
    /// `Range` says that this byte was the last received; `None` for none.
    Progress(Option<usize>),
    /// The whole body is these bytes of the material.
    Body(&'static str),
    /// The body is these bytes, from the first to the last of both, and `Content-Range` says so.
    Part(&'static str, usize, usize),
    /// Several parts, each with its `Content-Range`.
    Parts(&'static str, Vec<(usize, usize)>),
    /// The code of the first error.
    Code(&'static str),
    /// The value at a JSON pointer.
    Json(&'static str, String),
    /// The body contains this text.
    Has(String),
    /// The body does not contain this text.
    Lacks(String),
}

/// A request and what its answer must satisfy. In every text `{word}` stands for what is remembered under that word, or
/// for the digest of the material of that name; `{%word}` is the same, escaped for a query.
#[derive(Clone)]
pub struct Step {
    /// Method
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Headers, in order; a name may occur more than once.
    pub headers: Vec<(&'static str, String)>,
    /// Body
    pub body: Payload,
    /// The statuses that the client accepts.
    pub status: Vec<u16>,
    /// Further checks.
    pub checks: Vec<Check>,
}

impl Step {
    fn new(method: Method, path: &str) -> Self {
        let path = path.to_owned();
        Self { method, path, headers: Vec::new(), body: Payload::None, status: Vec::new(), checks: Vec::new() }
    }

    fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Sends a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sends `Accept`.
    #[must_use]
    pub fn accept(self, value: &str) -> Self {
        self.with("accept", value)
    }

    /// Sends `Content-Type: application/octet-stream`.
    #[must_use]
    pub fn octets(self) -> Self {
        self.with("content-type", "application/octet-stream")
    }

    /// Adds `digest` to a query that is kept as it is.
    #[must_use]
    pub fn digest(mut self, name: &str) -> Self {
        self.path.push_str(&format!("{{&}}digest={{%{name}}}"));
        self
    }

    /// Sends bytes of the material with their length.
    #[must_use]
    pub fn sized(mut self, name: &'static str) -> Self {
        self.body = Payload::Sized(name, None);
        self
    }

    /// Sends the bytes from `from` to before `to`.
    #[must_use]
    pub fn part(mut self, name: &'static str, from: usize, to: usize) -> Self {
        self.body = Payload::Sized(name, Some((from, to)));
        self
    }

    /// Sends bytes of the material without saying how many.
    #[must_use]
    pub fn stream(mut self, name: &'static str) -> Self {
        self.body = Payload::Stream(name);
        self
    }

    /// A status that the client accepts.
    #[must_use]
    pub fn is(mut self, status: u16) -> Self {
        self.status.push(status);
        self
    }

    /// The answer has exactly this header.
    #[must_use]
    pub fn says(self, name: &'static str, value: &str) -> Self {
        self.check(Check::Header(name, value.to_owned()))
    }

    /// The answer names the digest of this material.
    #[must_use]
    pub fn names(self, name: &str) -> Self {
        self.says("docker-content-digest", &format!("{{{name}}}"))
    }

    /// The answer does not have this header.
    #[must_use]
    pub fn lacks_header(self, name: &'static str) -> Self {
        self.check(Check::Absent(name))
    }

    /// Remembers `Location`.
    #[must_use]
    pub fn location(self, word: &'static str) -> Self {
        self.check(Check::Location(word))
    }

    /// `Location` ends in this.
    #[must_use]
    pub fn at(self, end: &str) -> Self {
        self.check(Check::LocationEnds(end.to_owned()))
    }

    /// There is a next page, remembered under a word.
    #[must_use]
    pub fn next(self, word: &'static str) -> Self {
        self.check(Check::Next(word))
    }

    /// There is no next page.
    #[must_use]
    pub fn last(self) -> Self {
        self.check(Check::Last)
    }

    /// So many bytes were received.
    #[must_use]
    pub fn received(self, bytes: usize) -> Self {
        self.check(Check::Progress(bytes.checked_sub(1)))
    }

    /// The body is this material.
    #[must_use]
    pub fn gives(self, name: &'static str) -> Self {
        self.check(Check::Body(name))
    }

    /// The body is this part of the material, both ends included.
    #[must_use]
    pub fn gives_part(self, name: &'static str, first: usize, last: usize) -> Self {
        self.check(Check::Part(name, first, last))
    }

    /// The body is these parts of the material, both ends included.
    #[must_use]
    pub fn gives_parts(self, name: &'static str, parts: &[(usize, usize)]) -> Self {
        self.check(Check::Parts(name, parts.to_vec()))
    }

    /// The first error has this code.
    #[must_use]
    pub fn code(self, code: &'static str) -> Self {
        self.check(Check::Code(code))
    }

    /// The body has this JSON at a pointer.
    #[must_use]
    pub fn json(self, pointer: &'static str, value: &str) -> Self {
        self.check(Check::Json(pointer, value.to_owned()))
    }

    /// The body contains a text.
    #[must_use]
    pub fn has(self, text: &str) -> Self {
        self.check(Check::Has(text.to_owned()))
    }

    /// The body does not contain a text.
    #[must_use]
    pub fn lacks(self, text: &str) -> Self {
        self.check(Check::Lacks(text.to_owned()))
    }
}

/// `GET`
pub fn get(path: &str) -> Step {
    Step::new(Method::GET, path)
}

/// `HEAD`
pub fn head(path: &str) -> Step {
    Step::new(Method::HEAD, path)
}

/// `POST`
pub fn post(path: &str) -> Step {
    Step::new(Method::POST, path)
}

/// `PATCH`
pub fn patch(path: &str) -> Step {
    Step::new(Method::PATCH, path)
}

/// `PUT`
pub fn put(path: &str) -> Step {
    Step::new(Method::PUT, path)
}

/// `DELETE`
pub fn delete(path: &str) -> Step {
    Step::new(Method::DELETE, path)
}
