//! When a certificate ends, and when to say so.

/// How long before the end a person is warned, in days. Ascending.
const WARNINGS: [u64; 3] = [1, 7, 30];
const DAY: u64 = 24 * 3600;

/// What was said about one certificate.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    not_after: Option<u64>,
    said: Option<Nearness>,
}

/// How near the end of a certificate is; the nearer, the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    /// It has ended.
    Past,
    /// Less than so many days are left.
    Days(u64),
}

impl Expiry {
    /// Of a certificate that ends at `not_after` in Unix seconds.
    pub(super) fn of(not_after: Option<u64>) -> Self {
        Self { not_after, said: None }
    }

    /// What should be said at `now`, once for each warning.
    pub(super) fn warning(&mut self, now: u64) -> Option<Nearness> {
        let nearness = nearness(self.not_after?, now)?;
        let news = self.said.is_none_or(|said| nearness < said);
        self.said = Some(nearness);
        news.then_some(nearness)
    }
}

fn nearness(not_after: u64, now: u64) -> Option<Nearness> {
    match not_after.checked_sub(now) {
        None => Some(Nearness::Past),
        Some(left) => WARNINGS.into_iter().find(|days| left < days * DAY).map(Nearness::Days),
    }
}

/// The end of a certificate's validity in Unix seconds (RFC 5280, section 4.1); nothing if it is not well-formed.
pub(super) fn not_after(certificate: &[u8]) -> Option<u64> {
    let mut signed = Der(Der(certificate).next(SEQUENCE)?);
    let mut fields = Der(signed.next(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.next(VERSION)?;
    }
    fields.next(INTEGER)?; // serial number
    fields.next(SEQUENCE)?; // algorithm
    fields.next(SEQUENCE)?; // issuer
    let mut validity = Der(fields.next(SEQUENCE)?);
    validity.any()?; // not before
    let (tag, text) = validity.any()?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: u64 = number(text.get(..2)?)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (number(text.get(..4)?)?, text.get(4..)?),
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| rest.get(at..at + 2).and_then(number));
    let days = crate::clock::days_to(year, month?, day?)?;
    Some(days * DAY + hour? * 3600 + minute? * 60 + second?)
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Elements of DER, one after another.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None, // no length of DER
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read() {
        for (year, month, day, expected) in [
            (2029, 2, 28, 1_866_931_200),
            (1970, 1, 2, 86_400),
            (2050, 1, 1, 2_524_608_000),
            (2096, 2, 29, 3_981_312_000),
        ] {
            let mut parameters = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
            parameters.not_before = rcgen::date_time_ymd(1970, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(year, month, day);
            let certificate = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            assert_eq!(not_after(certificate.der()), Some(expected), "{year}-{month}-{day}");
            for length in 0..certificate.der().len() {
                assert_eq!(not_after(&certificate.der()[..length]), None);
            }
        }
    }

    #[test]
    fn each_warning_is_said_once_and_the_nearest_of_several() {
        let end = 100 * DAY;
        let mut expiry = Expiry::of(Some(end));
        let said = [0, 69, 71, 72, 93, 94, 98, 99, 100, 101, 102].map(|day| expiry.warning(day * DAY + 1));
        use Nearness::{Days, Past};
        let expected =
            [None, None, Some(Days(30)), None, Some(Days(7)), None, None, Some(Days(1)), Some(Past), None, None];
        assert_eq!(said, expected);
        assert_eq!(Expiry::of(Some(end)).warning(end - 1), Some(Days(1)));
        assert_eq!(Expiry::of(None).warning(end), None);
    }
}
