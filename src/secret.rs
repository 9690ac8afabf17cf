//! Values that must never be printed: bearer tokens, cookie values, signing secrets.

use std::fmt;

use ring::digest::{SHA256, digest};

/// A string whose `Debug` output is only a placeholder; there is no `Display`.
///
/// Reading the content takes an explicit [`Secret::expose`], so that every place where it can leave
/// the process is easy to find.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes ownership of a value that must stay out of logs.
    pub fn new(value: impl Into<Box<str>>) -> Self {
        Self(value.into())
    }

    /// The content itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether two secrets are equal. What is compared are digests, so that the time it takes tells nothing about how
/// much of a guess was right.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    digest(&SHA256, a).as_ref() == digest(&SHA256, b).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_does_not_contain_the_value() {
        let shown = format!("{:?}", Secret::new("ya29.very-secret"));
        assert!(!shown.contains("very-secret"), "{shown}");
    }

    #[test]
    fn only_equal_secrets_are_the_same() {
        assert!(same(b"", b"") && same(b"a", b"a"));
        assert!(!same(b"a", b"b") && !same(b"a", b"aa") && !same(b"", b"a"));
    }
}
