//! Several ranges of a blob in one answer (RFC 9110 §14.6, `multipart/byteranges`).

use bytes::Bytes;
use std::ops::Range;
use uuid::Uuid;

/// The frame around some ranges of a blob. It costs memory per range, never per byte.
pub struct Multipart {
    /// Value of `Content-Type`.
    pub content_type: String,
    /// What comes before each range's bytes.
    pub heads: Vec<Bytes>,
    /// What comes after the last byte.
    pub tail: Bytes,
    /// Bytes of the whole body, the ranges' own included.
    pub length: u64,
}

impl Multipart {
    /// Frames `parts` of a blob of `size` bytes and `media_type`.
    pub fn new(parts: &[Range<u64>], size: u64, media_type: &str) -> Self {
        // Random, so that no content can contain it on purpose.
        let boundary = Uuid::new_v4().simple().to_string();
        let head = |part: &Range<u64>| {
            let (first, last) = (part.start, part.end - 1);
            let range = format!("Content-Range: bytes {first}-{last}/{size}");
            Bytes::from(format!("\r\n--{boundary}\r\nContent-Type: {media_type}\r\n{range}\r\n\r\n"))
        };
        let heads: Vec<Bytes> = parts.iter().map(head).collect();
        let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let frame = heads.iter().map(Bytes::len).sum::<usize>() + tail.len();
        let length = frame as u64 + parts.iter().map(|part| part.end - part.start).sum::<u64>();
        Self { content_type: format!("multipart/byteranges; boundary={boundary}"), heads, tail, length }
    }
}
