//! What is told of a request whichever requests get a line: who signed in, who signed out, who was kept out.

/// Something that somebody may want to look up later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audit {
    /// A session was made, or renewed.
    SignIn {
        /// E-mail address of the account.
        who: Box<str>,
    },
    /// A session was ended here.
    SignOut {
        /// E-mail address of the account, when Google could still say whose the session was.
        who: Option<Box<str>>,
        /// Whether the token was also revoked at Google, if that was asked for.
        revoked: Option<bool>,
    },
    /// Somebody who is known was not let in.
    Denied,
}

impl Audit {
    /// Value of the field `audit`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SignIn { .. } => "sign_in",
            Self::SignOut { .. } => "sign_out",
            Self::Denied => "denied",
        }
    }

    /// Whose session it is, where the request's own credential does not say.
    pub fn who(&self) -> Option<&str> {
        match self {
            Self::SignIn { who } => Some(who),
            Self::SignOut { who, .. } => who.as_deref(),
            Self::Denied => None,
        }
    }

    /// Whether the token was revoked at Google, if that was asked for.
    pub fn revoked(&self) -> Option<bool> {
        match self {
            Self::SignOut { revoked, .. } => *revoked,
            Self::SignIn { .. } | Self::Denied => None,
        }
    }
}
