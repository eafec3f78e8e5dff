use std::{fmt, str::FromStr};

/// A registered digest algorithm (OCI image spec, "Registered Algorithms"). The discriminant is its stored byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// `sha256`
    Sha256 = 1,
    /// `sha512`
    Sha512 = 2,
}

impl Algorithm {
    /// The name before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes of a raw digest.
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// From the stored byte.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Sha256),
            2 => Some(Self::Sha512),
            _ => None,
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(DigestError::Algorithm),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Unknown or unsupported algorithm.
    #[error("the digest algorithm is neither sha256 nor sha512")]
    Algorithm,
    /// Not lower-case hexadecimal of the algorithm's length.
    #[error("the digest is not lower-case hexadecimal of its algorithm's length")]
    Encoded,
}

/// A content digest, `<algorithm>:<lower-case hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; 64],
}

impl Digest {
    /// From raw digest bytes; `None` if the length is not the algorithm's.
    pub fn new(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        let mut bytes = [0; 64];
        bytes.get_mut(..raw.len())?.copy_from_slice(raw);
        (raw.len() == algorithm.size()).then_some(Self { algorithm, bytes })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw digest.
    pub fn raw(&self) -> &[u8] {
        &self.bytes[..self.algorithm.size()]
    }

    /// The stored form: the algorithm byte, then the raw digest.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + self.algorithm.size());
        out.push(self.algorithm as u8);
        out.extend_from_slice(self.raw());
        out
    }

    /// Reads the stored form.
    pub fn from_bytes(stored: &[u8]) -> Option<Self> {
        let (&algorithm, raw) = stored.split_first()?;
        Self::new(Algorithm::from_byte(algorithm)?, raw)
    }

    /// The hexadecimal part.
    pub fn hex(&self) -> String {
        hex::encode(self.raw())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, encoded) = text.split_once(':').ok_or(DigestError::Algorithm)?;
        let algorithm: Algorithm = algorithm.parse()?;
        let lower = encoded.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !lower || encoded.len() != 2 * algorithm.size() {
            return Err(DigestError::Encoded);
        }
        let mut bytes = [0; 64];
        hex::decode_to_slice(encoded, &mut bytes[..algorithm.size()]).map_err(|_| DigestError::Encoded)?;
        Ok(Self { algorithm, bytes })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Digest {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.algorithm, self.raw()).cmp(&(other.algorithm, other.raw()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_text_and_stored_form() {
        for text in [format!("sha256:{}", "ab".repeat(32)), format!("sha512:{}", "0f".repeat(64))] {
            let digest: Digest = text.parse().expect("valid");
            assert_eq!(digest.to_string(), text);
            assert_eq!(Digest::from_bytes(&digest.to_bytes()), Some(digest));
        }
    }

    #[test]
    fn odd_digests_are_refused() {
        for text in ["", "sha256", "sha256:", "sha256:AB", "md5:00", "SHA256:00", "sha256:../../x"] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        assert!(format!("sha256:{}", "AB".repeat(32)).parse::<Digest>().is_err());
        assert!(format!("sha256:{}", "a".repeat(65)).parse::<Digest>().is_err());
    }
}
