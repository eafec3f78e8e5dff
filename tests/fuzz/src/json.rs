//! A second reader of JSON (RFC 8259), written for nothing but checking the first: it keeps every key, duplicates too.

/// A JSON value; numbers as written.
#[derive(Debug, PartialEq)]
pub enum Json {
    Null,
    Bool,
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The value of a key.
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(pairs) => pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of a list; nothing else has any.
    pub fn items(&self) -> &[Json] {
        match self {
            Json::List(items) => items,
            _ => &[],
        }
    }

    /// How deep lists and objects are nested.
    pub fn depth(&self) -> usize {
        match self {
            Json::List(items) => 1 + items.iter().map(Json::depth).max().unwrap_or(0),
            Json::Object(pairs) => 1 + pairs.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether the document or a descriptor of it has two keys that Go's `encoding/json` takes for one field.
    pub fn is_ambiguous_in_go(&self) -> bool {
        const FIELDS: &str =
            "schemaversion mediatype config layers manifests subject artifacttype annotations digest size urls";
        let twice = |value: &Json| {
            let Json::Object(pairs) = value else { return false };
            let folded = |key: &str| key.to_uppercase().to_lowercase();
            let fields =
                pairs.iter().map(|(key, _)| folded(key)).filter(|key| FIELDS.split(' ').any(|name| name == key));
            let mut fields: Vec<String> = fields.collect();
            fields.sort();
            fields.windows(2).any(|pair| pair[0] == pair[1])
        };
        let lists = ["layers", "manifests"].iter().filter_map(|name| self.get(name)).flat_map(Json::items);
        let single = ["config", "subject"].iter().filter_map(|name| self.get(name));
        twice(self) || lists.chain(single).any(twice)
    }

    /// Whether an object anywhere has a key twice: every key is compared with every other one.
    pub fn has_duplicates(&self) -> bool {
        match self {
            Json::List(items) => items.iter().any(Json::has_duplicates),
            Json::Object(pairs) => {
                let twice = pairs.iter().enumerate().any(|(at, (key, _))| pairs[..at].iter().any(|(k, _)| k == key));
                twice || pairs.iter().any(|(_, value)| value.has_duplicates())
            }
            _ => false,
        }
    }
}

/// Reads a whole document; `None` if it is none.
pub fn parse(text: &str) -> Option<Json> {
    let mut reader = Reader { rest: text };
    let value = reader.value()?;
    reader.space();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, token: &str) -> Option<()> {
        self.space();
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn value(&mut self) -> Option<Json> {
        self.space();
        match self.rest.chars().next()? {
            'n' => self.take("null").map(|()| Json::Null),
            't' => self.take("true").map(|()| Json::Bool),
            'f' => self.take("false").map(|()| Json::Bool),
            '"' => self.string().map(Json::Text),
            '[' => self.list(),
            '{' => self.object(),
            _ => self.number(),
        }
    }

    fn list(&mut self) -> Option<Json> {
        self.take("[")?;
        let mut items = Vec::new();
        if self.take("]").is_some() {
            return Some(Json::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.take(",").is_none() {
                return self.take("]").map(|()| Json::List(items));
            }
        }
    }

    fn object(&mut self) -> Option<Json> {
        self.take("{")?;
        let mut pairs = Vec::new();
        if self.take("}").is_some() {
            return Some(Json::Object(pairs));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.take(":")?;
            pairs.push((key, self.value()?));
            if self.take(",").is_none() {
                return self.take("}").map(|()| Json::Object(pairs));
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.rest = self.rest.strip_prefix('"')?;
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escape()?),
                c if c < ' ' => return None,
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => match self.unit()? {
                high @ 0xD800..=0xDBFF => {
                    self.rest = self.rest.strip_prefix("\\u")?;
                    let low = self.unit().filter(|low| (0xDC00..=0xDFFF).contains(low))?;
                    char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00))?
                }
                unit => char::from_u32(unit)?,
            },
            _ => return None,
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |sum, _| Some(sum * 16 + self.next()?.to_digit(16)?))
    }

    fn number(&mut self) -> Option<Json> {
        let text = self.rest;
        self.rest = self.rest.strip_prefix('-').unwrap_or(self.rest);
        if self.rest.starts_with('0') {
            self.next();
        } else {
            self.digits()?;
        }
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            self.digits()?;
        }
        if let Some(rest) = self.rest.strip_prefix(['e', 'E']) {
            self.rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
            self.digits()?;
        }
        Some(Json::Number(text[..text.len() - self.rest.len()].to_owned()))
    }

    fn digits(&mut self) -> Option<()> {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let some = rest.len() < self.rest.len();
        self.rest = rest;
        some.then_some(())
    }
}
