//! What is there and has no use, or is there twice: the file says something else than its author thinks.

use super::{Named, Resolver};
use crate::config::Location;
use crate::config::mirror;
use crate::config::problem::{Fault, Spanned};

impl Resolver<'_> {
    /// An entry of the log names its location by host and path, so that its methods can change while entries wait.
    pub(super) fn same_keys(&mut self, entries: &[Spanned<mirror::Location>], resolved: &[Option<Location>]) {
        let key = |it: &Option<Location>| it.as_ref().and_then(|it| Some(it.message.as_ref()?.key.clone()));
        let keys: Vec<Option<String>> = resolved.iter().map(key).collect();
        for (index, entry) in entries.iter().enumerate() {
            let key = keys.get(index).cloned().flatten();
            if key.is_some() && keys.iter().take(index).any(|earlier| *earlier == key) {
                let fault =
                    Fault::new("is the path of an earlier location whose requests the gateway reads as well");
                let place = entry.value.path.as_ref().map_or(&entry.place, |path| &path.place);
                self.refuse(
                    place,
                    fault.help("such locations need different paths or hosts; `methods` alone is not enough"),
                );
            }
        }
    }

    /// Notes upstreams, secrets and lists that no location uses, and a log that none writes to.
    pub(super) fn unused(
        &mut self,
        file: &mirror::File,
        locations: &[Spanned<mirror::Location>],
        named: &Named<'_>,
    ) {
        // With a location in doubt it cannot be said what it would have used.
        if self.blamed("locations") {
            return;
        }
        let uses = |name: &str| {
            locations.iter().any(|it| it.value.upstream.as_ref().is_some_and(|used| used.value == name))
        };
        let recorded = |it: &mirror::Location| it.wal.as_ref().is_some_and(|entry| entry.value);
        if let Some(section) = file.wal.as_ref().filter(|_| !locations.iter().any(|it| recorded(&it.value))) {
            let fault = Fault::new("no location writes to this log");
            self.refuse(&section.place, fault.help("remove it, or write `wal: true` at a location"));
        }
        let signs = |name: &str| {
            locations.iter().filter_map(|it| it.value.webhook.as_ref()).any(|it| uses_secret(&it.value, name))
        };
        for (name, _) in named.secrets.iter().filter(|(name, _)| !signs(&name.value)) {
            let fault = Fault::new("no location uses this secret");
            self.refuse(&name.place, fault.help("remove it, or name it under `webhook` at a location"));
        }
        for (name, _) in named.upstreams.iter().filter(|(name, _)| !uses(&name.value)) {
            let fault = Fault::new("no location uses this upstream");
            self.refuse(&name.place, fault.help("remove it, or name it at a location"));
        }
        let global = |it: &mirror::Location| {
            it.allow.is_none() && it.access.as_ref().is_some_and(|access| access.value == "google")
        };
        if let Some(section) = &file.allow
            && !locations.iter().any(|it| global(&it.value))
        {
            let fault = Fault::new("no location uses this list");
            self.refuse(
                &section.place,
                fault.help("it is for locations with `access: google` and no `allow`"),
            );
        }
    }
}

/// Whether a sender's scheme names a secret.
fn uses_secret(file: &mirror::Webhook, name: &str) -> bool {
    let schemes =
        [&file.slack, &file.github, &file.stripe, &file.shopify, &file.zoom, &file.standard_webhooks];
    let mut named: Vec<_> = Vec::new();
    for section in schemes.into_iter().flatten() {
        named.extend([section.value.secret.as_ref(), section.value.previous_secret.as_ref()]);
    }
    if let Some(section) = &file.hmac {
        named.extend([section.value.secret.as_ref(), section.value.previous_secret.as_ref()]);
    }
    named.into_iter().flatten().any(|entry| entry.value == name)
}
