//! Whose tokens are accepted, and where Google is reached.

use url::Url;

use super::{Resolver, address};
use crate::config::mirror;
use crate::config::problem::{Fault, Place, Spanned};
use crate::config::{Endpoints, Google};

/// What every OAuth client of Google ends with.
const CLIENT_SUFFIX: &str = ".apps.googleusercontent.com";
/// The clients of `gcloud auth login` and `gcloud auth application-default login`: public, the same for everybody.
const EVERYBODYS_CLIENTS: [&str; 2] = [
    "32555940559.apps.googleusercontent.com",
    "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com",
];

impl Resolver<'_> {
    pub(super) fn google(&mut self, section: Option<&Spanned<mirror::Google>>) -> Option<Google> {
        let Spanned { value: file, place } = section?;
        // Without other clients the section may be there for the endpoints alone: a location that needs a client
        // says so itself.
        if file.client_id.is_none() && file.accepted_clients.is_some() {
            self.missing(
                place,
                "client_id",
                "create an OAuth client of the type web application and write its id",
            );
        }
        let client_id = self.value(file.client_id.as_ref(), client);
        let accepted_clients = self.list(file.accepted_clients.as_ref(), client);
        Some(Google { client_id: client_id?, accepted_clients })
    }

    /// The endpoints of the file, of the environment, or Google's own. Nothing only when something is wrong.
    pub(super) fn endpoints(&mut self, section: Option<&Spanned<mirror::Google>>) -> Option<Endpoints> {
        let file = section.and_then(|section| section.value.endpoints.as_ref());
        let file = file.map(|section| section.value.clone()).unwrap_or_default();
        let metadata = match &file.metadata {
            Some(entry) => self.value(Some(entry), address::metadata),
            None => self.environment_or(
                "GCE_METADATA_HOST",
                "http://metadata.google.internal",
                address::metadata_host,
            ),
        };
        let emulator = file.pubsub.is_none() && self.variable_is_set("PUBSUB_EMULATOR_HOST");
        let pubsub = match &file.pubsub {
            Some(entry) => self.value(Some(entry), address::service),
            None => self.environment_or(
                "PUBSUB_EMULATOR_HOST",
                "https://pubsub.googleapis.com",
                address::emulator_host,
            ),
        };
        let secret_manager = self.value(file.secret_manager.as_ref(), address::service);
        let mut endpoint = |entry: &Option<Spanned<String>>, default: &str| match entry {
            Some(entry) => self.value(Some(entry), address::endpoint),
            None => Url::parse(default).ok(),
        };
        let authorization = endpoint(&file.authorization, "https://accounts.google.com/o/oauth2/v2/auth");
        let tokeninfo = endpoint(&file.tokeninfo, "https://oauth2.googleapis.com/tokeninfo");
        let certs = endpoint(&file.certs, "https://www.googleapis.com/oauth2/v3/certs");
        let revocation = endpoint(&file.revocation, "https://oauth2.googleapis.com/revoke");
        Some(Endpoints {
            authorization: authorization?,
            tokeninfo: tokeninfo?,
            certs: certs?,
            revocation: revocation?,
            metadata: metadata?,
            secret_manager,
            pubsub: pubsub?,
            pubsub_emulator: emulator,
        })
    }

    fn variable_is_set(&self, name: &str) -> bool {
        self.environment.get(name).is_some_and(|value| !value.is_empty())
    }

    /// An address that Google's own libraries take from the environment as well.
    fn environment_or(
        &mut self,
        name: &str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<Url, Fault>,
    ) -> Option<Url> {
        match self.environment.get(name).filter(|value| !value.is_empty()) {
            None => Url::parse(default).ok(),
            Some(value) => {
                let place = Place { key: format!("the environment's {name}"), ..Place::default() };
                parse(&value).map_err(|fault| self.refuse(&place, fault)).ok()
            }
        }
    }
}

/// The id of an OAuth client.
fn client(text: &str) -> Result<String, Fault> {
    let name = text.strip_suffix(CLIENT_SUFFIX).unwrap_or_default();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        // Not repeated: what is put here by mistake is the client's secret.
        return Err(Fault::new("is not the id of an OAuth client").help(format!(
            "it looks like `1234-abc{CLIENT_SUFFIX}`; there is no client secret to configure"
        )));
    }
    if EVERYBODYS_CLIENTS.contains(&text) {
        return Err(Fault::new(format!("{text} is the client of the gcloud program"))
            .help("any program on a developer's machine can get its tokens; use a client of your own"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_ours_and_look_like_clients() {
        assert!(client("1234-abc.apps.googleusercontent.com").is_ok());
        for text in ["", "1234", ".apps.googleusercontent.com", "a b.apps.googleusercontent.com"] {
            assert!(client(text).is_err(), "{text}");
        }
        assert!(EVERYBODYS_CLIENTS.iter().all(|text| client(text).is_err()));
    }
}
