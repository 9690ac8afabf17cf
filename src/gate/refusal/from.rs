//! What a check of a token or of a request's form found, as a refusal.

use super::Refusal;
use crate::gate::request::NotCanonical;
use crate::identity::VerifyError;

impl From<VerifyError> for Refusal {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Unavailable(cause) => Self::ProviderUnavailable(cause),
            VerifyError::Throttled => Self::Throttled,
            verdict @ (VerifyError::Malformed
            | VerifyError::Expired
            | VerifyError::SignedOut
            | VerifyError::Invalid(_)
            | VerifyError::WrongAudience
            | VerifyError::NoVerifiedEmail) => Self::InvalidCredential(verdict),
        }
    }
}

impl From<NotCanonical> for Refusal {
    fn from(why: NotCanonical) -> Self {
        Self::NotCanonical(why)
    }
}
