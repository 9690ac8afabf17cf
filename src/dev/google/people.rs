//! Who exists at the stand-in: a few people, and service accounts.

/// Somebody with an account at the stand-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// E-mail address.
    pub email: String,
    /// Full name; empty for service accounts.
    pub name: String,
    /// The stable id: 21 decimal digits, as Google's are.
    pub sub: String,
    /// Google Workspace domain, if the account belongs to one.
    pub hosted_domain: Option<String>,
    /// Whether the address was verified.
    pub email_verified: bool,
    /// What the account is there to show, for the chooser.
    pub note: &'static str,
}

impl Person {
    /// First letter of the name, for the round picture.
    pub(crate) fn initial(&self) -> char {
        self.name.chars().next().unwrap_or('?')
    }

    /// Whether `hint` (an address or a `sub`) names this account.
    pub(crate) fn is(&self, hint: &str) -> bool {
        self.sub == hint || self.email.eq_ignore_ascii_case(hint)
    }

    /// Whether the account belongs to the Workspace domain; `*` means any.
    pub(crate) fn belongs_to(&self, domain: &str) -> bool {
        self.hosted_domain.as_deref().is_some_and(|own| domain == "*" || own.eq_ignore_ascii_case(domain))
    }

    /// Whether this is a service account.
    pub(crate) fn is_service_account(&self) -> bool {
        self.email.ends_with(".gserviceaccount.com")
    }
}

/// Project of the service accounts.
pub const PROJECT: &str = "example-project";
/// Its number.
pub const PROJECT_NUMBER: &str = "123456789012";
/// The account that the gateway runs as: the metadata server speaks for it.
pub const GATEWAY: &str = "gateway@example-project.iam.gserviceaccount.com";
/// A program that calls the gateway.
pub const ROBOT: &str = "robot@example-project.iam.gserviceaccount.com";

/// The people of the chooser.
pub(super) fn people(domain: &str) -> Vec<Person> {
    let person = |user: &str, at: &str, name: &str, sub: &str, member: bool, verified, note| Person {
        email: format!("{user}@{at}"),
        name: name.to_owned(),
        sub: sub.to_owned(),
        hosted_domain: member.then(|| at.to_owned()),
        email_verified: verified,
        note,
    };
    vec![
        person("ada", domain, "Ada Lovelace", "111260650121245072901", true, true, "Workspace member"),
        person("grace", domain, "Grace Hopper", "111260650121245072902", true, true, "Workspace member"),
        person(
            "bob",
            domain,
            "Bob Barker",
            "111260650121245072903",
            false,
            true,
            "right domain, not a Workspace member",
        ),
        person("eve", domain, "Eve Adams", "111260650121245072904", false, false, "address not verified"),
        person(
            "mallory",
            "other.example",
            "Mallory Moss",
            "111260650121245072905",
            true,
            true,
            "another domain",
        ),
    ]
}

/// The service accounts.
pub(super) fn service_accounts() -> Vec<Person> {
    let account = |email: &str, sub: &str, note| Person {
        email: email.to_owned(),
        name: String::new(),
        sub: sub.to_owned(),
        hosted_domain: None,
        email_verified: true,
        note,
    };
    vec![
        account(GATEWAY, "104029384756102938471", "what the gateway runs as"),
        account(ROBOT, "104029384756102938472", "a program that calls the gateway"),
    ]
}
