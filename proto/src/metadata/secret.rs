//! What is printed of messages that hold secrets: everything else.

use crate::wire::metadata::{AddTokenKey, TokenKey};
use std::fmt;

impl fmt::Debug for AddTokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddTokenKey")
            .field("key_id", &self.key_id)
            .field("rotate_ms", &self.rotate_ms)
            .field("keep_ms", &self.keep_ms)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey")
            .field("made_mono", &self.made_mono)
            .field("replaced_mono", &self.replaced_mono)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{batch_of, operation};
    use crate::wire::metadata::command;
    use bytes::Bytes;

    #[test]
    fn secrets_are_not_printed() {
        let secret = Bytes::from_static(b"the secret of thirty-two letters");
        let key = TokenKey { secret: secret.clone(), made_mono: 1, replaced_mono: Some(2) };
        let add = AddTokenKey { secret, ..AddTokenKey::default() };
        let batch = batch_of(operation(Bytes::new(), 0, command::Kind::AddTokenKey(add)));
        for text in [format!("{key:?}"), format!("{key:#?}"), format!("{batch:?}"), format!("{batch:#?}")] {
            assert!(text.contains("TokenKey") && !text.contains("secret"), "{text}");
        }
    }
}
