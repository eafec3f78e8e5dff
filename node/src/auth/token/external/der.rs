//! As much of DER (X.690) as it takes to find a public key in a certificate. Never recurses. Nothing is believed because of
//! it: whether a certificate is good is for `webpki` to say.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]`, with the version of a certificate.
const VERSION: u8 = 0xa0;

/// Elements one after another.
#[derive(Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    /// The contents of the next element, if it has this tag.
    pub(super) fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.split(tag).map(|(_, contents)| contents)
    }

    /// The next element, tag and length included, and its contents.
    fn split(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let (&first, &short) = (self.0.first()?, self.0.get(1)?);
        let (start, length) = match short {
            0..=0x7f => (2, usize::from(short)),
            0x81 => (3, usize::from(*self.0.get(2)?)),
            0x82 => (4, usize::from(u16::from_be_bytes(self.0.get(2..4)?.try_into().ok()?))),
            _ => return None,
        };
        let (element, rest) = self.0.split_at_checked(start + length)?;
        if first != tag {
            return None;
        }
        self.0 = rest;
        Some((element, &element[start..]))
    }
}

/// The parts of a certificate that are looked at here.
pub(super) struct Certificate<'a> {
    /// Name of its owner.
    pub(super) subject: &'a [u8],
    /// SubjectPublicKeyInfo.
    pub(super) key: &'a [u8],
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut signed = Der(Der(der).next(SEQUENCE)?);
        let mut fields = Der(signed.next(SEQUENCE)?);
        let _version = fields.next(VERSION);
        let _serial = fields.next(INTEGER)?;
        let [_algorithm, _issuer, _validity] = [fields.next(SEQUENCE)?, fields.next(SEQUENCE)?, fields.next(SEQUENCE)?];
        Some(Self { subject: fields.next(SEQUENCE)?, key: fields.split(SEQUENCE)?.0 })
    }
}
