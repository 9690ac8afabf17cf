//! Who passes: domains, people, service accounts.

use std::sync::Arc;

use super::Resolver;
use super::value::dns_name;
use crate::config::mirror;
use crate::config::problem::{Fault, Spanned, cut, shown};
use crate::config::{Allow, Flow};

/// The domain of all service accounts.
const SERVICE_ACCOUNTS: &str = "gserviceaccount.com";
/// Domains in which anybody can have an address.
const EVERYBODYS_DOMAINS: [&str; 2] = ["gmail.com", "googlemail.com"];

impl Resolver<'_> {
    /// The list of a section, which must admit somebody.
    pub(super) fn allow(&mut self, section: &Spanned<mirror::Allow>, flow: Flow) -> Arc<Allow> {
        let Spanned { value: file, place } = section;
        let allow = Allow {
            domains: self.list(file.domains.as_ref(), domain),
            emails: self.list(file.emails.as_ref(), email),
            service_accounts: self.list(file.service_accounts.as_ref(), service_account),
            workspace_only: file.workspace_only.as_ref().is_some_and(|entry| entry.value),
        };
        let nobody = allow.domains.is_empty() && allow.emails.is_empty() && allow.service_accounts.is_empty();
        if nobody && !self.blamed(&place.key) {
            let fault = Fault::new("admits nobody");
            self.refuse(place, fault.help("name somebody under domains, emails or service_accounts"));
        }
        if let Some(entry) = file.workspace_only.as_ref().filter(|entry| entry.value) {
            if flow == Flow::AccessToken && !self.blamed("login.flow") {
                let fault = Fault::new("access tokens never tell the Workspace of their owner (`hd`)");
                self.refuse(&entry.place, fault.help("set `flow: id_token` under `login`"));
            } else if file.domains.is_none() && !nobody {
                let fault = Fault::new("has no effect without `domains`");
                self.refuse(&entry.place, fault.help("leave it out, or name the domains"));
            }
        }
        Arc::new(allow)
    }
}

/// A bare domain name.
fn domain(text: &str) -> Result<String, Fault> {
    let fault = |what: &str| Fault::new(format!("{} {what}", shown(text)));
    let bare = "write a bare domain such as `example.com`";
    if text.contains('@') {
        let end = text.rsplit('@').next().unwrap_or_default();
        let help = if text.starts_with('@') {
            format!("write `{}`", cut(end))
        } else {
            "put it under `emails`".to_owned()
        };
        return Err(fault("is not a domain").help(help));
    }
    if text.contains('*') || text.starts_with('.') {
        return Err(
            fault("is not a domain").help(format!("{bare}; each subdomain is listed by its own name"))
        );
    }
    if !text.is_ascii() {
        return Err(fault("is not ASCII").help("write an international domain in its `xn--` form"));
    }
    let name = dns_name(text)
        .filter(|name| name.contains('.'))
        .ok_or_else(|| fault("is not a domain").help(bare))?;
    if is_service_domain(&name) {
        return Err(fault("is a domain of service accounts")
            .help("anybody can make one there; list each by its address under `service_accounts`"));
    }
    if EVERYBODYS_DOMAINS.contains(&name.as_str()) {
        return Err(
            fault("admits everybody with a Google account").help("list people by address under `emails`")
        );
    }
    Ok(name)
}

/// The address of a person.
fn email(text: &str) -> Result<String, Fault> {
    let (address, domain) = address(text)?;
    if is_service_domain(&domain) {
        let fault = Fault::new(format!("{} is a service account", shown(text)));
        return Err(fault.help("put it under `service_accounts`"));
    }
    Ok(address)
}

/// The address of a service account.
fn service_account(text: &str) -> Result<String, Fault> {
    let (address, domain) = address(text)?;
    if !is_service_domain(&domain) {
        return Err(Fault::new(format!("{} is not a service account", shown(text)))
            .help(format!("their addresses end with `{SERVICE_ACCOUNTS}`; people belong under `emails`")));
    }
    Ok(address)
}

/// An address in lower case, and its domain.
fn address(text: &str) -> Result<(String, String), Fault> {
    let local = |local: &str| !local.is_empty() && local.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    match text.split_once('@') {
        Some((name, domain)) if local(name) => dns_name(domain).filter(|domain| domain.contains('.')),
        _ => None,
    }
    .map(|domain| (text.to_ascii_lowercase(), domain))
    .ok_or_else(|| {
        let fault = Fault::new(format!("{} is not an e-mail address", shown(text)));
        let help = (!text.contains('@')).then(|| "a whole domain belongs under `domains`".to_owned());
        fault.maybe_help(help)
    })
}

fn is_service_domain(domain: &str) -> bool {
    domain.strip_suffix(SERVICE_ACCOUNTS).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_bare_and_lower_case() {
        assert_eq!(domain("Example.COM").unwrap(), "example.com");
        assert!(domain("mygserviceaccount.com").is_ok());
        for text in [
            "",
            "com",
            "@example.com",
            "ada@example.com",
            "*.example.com",
            ".example.com",
            "example.com.",
            "exmaple,com",
            "exa mple.com",
            "bücher.example",
            "gserviceaccount.com",
            "x.iam.GServiceAccount.com",
            "gmail.com",
        ] {
            assert!(domain(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_have_one_at() {
        assert_eq!(email("Ada@Example.com").unwrap(), "ada@example.com");
        for text in ["", "ada", "@example.com", "ada@", "a@b@example.com", "a d@example.com", "ada@example"] {
            assert!(email(text).is_err(), "{text}");
        }
    }

    #[test]
    fn service_accounts_and_people_are_told_apart() {
        for text in ["robot@p.iam.gserviceaccount.com", "1-compute@developer.gserviceaccount.com"] {
            assert!(service_account(text).is_ok() && email(text).is_err(), "{text}");
        }
        assert!(service_account("ada@example.com").is_err());
        assert!(service_account("ada@evilgserviceaccount.com").is_err());
    }
}
