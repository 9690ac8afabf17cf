//! What is valid and risky: said once, and accepted by name where it is meant.

use std::fmt;

use super::problem::Place;

/// A kind of risk. Its name is what `accept_risks` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// Everybody reaches a service that asks for a token, because the gateway brings one.
    PublicToken,
    /// A protected prefix with a final `/`, whose path without it is public.
    OpenBarePath,
    /// A minted token crosses a network in the clear.
    ClearToken,
    /// The operators' listener is on every interface.
    ExposedAdmin,
    /// A domain whose addresses anybody can have is admitted.
    ConsumerDomain,
    /// A signed message that somebody kept is good for ever.
    EndlessReplay,
    /// Signatures with SHA-1.
    Sha1,
    /// A log on a disk that ends with the instance.
    VolatileLog,
    /// Tokens are believed for long after they were revoked.
    LongTrust,
}

impl Risk {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 9] = [
        ("public_token", Self::PublicToken),
        ("open_bare_path", Self::OpenBarePath),
        ("clear_token", Self::ClearToken),
        ("exposed_admin", Self::ExposedAdmin),
        ("consumer_domain", Self::ConsumerDomain),
        ("endless_replay", Self::EndlessReplay),
        ("sha1", Self::Sha1),
        ("volatile_log", Self::VolatileLog),
        ("long_trust", Self::LongTrust),
    ];

    /// The name in `accept_risks`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, risk)| *risk == self).map_or("", |(name, _)| *name)
    }
}

/// A risky setting. Printed as one line; with `{:#}`, what to do follows on a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub(super) file: String,
    pub(super) place: Place,
    pub(super) risk: Risk,
    pub(super) what: String,
    pub(super) help: &'static str,
}

impl Warning {
    /// The kind of risk.
    pub fn risk(&self) -> Risk {
        self.risk
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, place, risk, what, help } = self;
        let name = risk.name();
        write!(f, "{file}:{}:{}: {}: warning: {what}", place.line, place.column, place.key)?;
        if f.alternate() {
            write!(f, "\n    help: {help}; if it is meant so: `accept_risks: [{name}]`")?;
        }
        Ok(())
    }
}
