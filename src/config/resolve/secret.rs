//! Where secrets are.

use std::path::Path;
use std::time::Duration;

use super::Resolver;
use super::value::{identifier, timeout};
use crate::config::mirror;
use crate::config::problem::{Fault, Spanned, did_you_mean, shown};
use crate::config::read::Named;
use crate::config::{SecretRef, SecretSource};
use crate::secret::Secret;

/// How long a value is used before it is read again.
const REFRESH: Duration = Duration::from_mins(5);
/// Shortest and longest of that.
const LEAST_REFRESH: Duration = Duration::from_secs(1);

/// The secrets in the order of the file; one that could not be resolved keeps its place.
pub(super) type Secrets = Vec<(Spanned<String>, Option<SecretRef>)>;

impl Resolver<'_> {
    pub(super) fn secrets(&mut self, section: Option<&Spanned<Named<mirror::Secret>>>) -> Secrets {
        let entries = section.map(|section| section.value.0.as_slice()).unwrap_or_default();
        let resolved = entries.iter().map(|(name, file)| {
            let valid = self.value(Some(name), identifier("a secret"));
            (name.clone(), valid.and(file.as_ref().and_then(|file| self.secret(name, file))))
        });
        resolved.collect()
    }

    fn secret(&mut self, name: &Spanned<String>, file: &mirror::Secret) -> Option<SecretRef> {
        let refresh = self.value(file.refresh.as_ref(), refresh);
        let source = match (&file.secret_manager, &file.file, &file.env) {
            (Some(version), None, None) => {
                let version = self.value(Some(version), version_name)?;
                self.refuse_refresh(
                    file,
                    version.rsplit('/').next() != Some("latest"),
                    "a numbered version never changes",
                );
                SecretSource::SecretManager(version)
            }
            (None, Some(path), None) => {
                if path.value.is_empty() {
                    self.refuse(&path.place, Fault::new("names no file"));
                    return None;
                }
                let path = self.folder.join(Path::new(&path.value));
                self.files.push(path.clone());
                SecretSource::File(path)
            }
            (None, None, Some(variable)) => {
                self.refuse_refresh(file, true, "the environment of a process never changes");
                self.variable(variable)?
            }
            (None, None, None) => {
                if !self.blamed(&name.place.key) {
                    let fault = Fault::new("does not say where the secret is");
                    self.refuse(&name.place, fault.help("set `secret_manager`, `file` or `env`"));
                }
                return None;
            }
            _ => {
                let fault = Fault::new("says more than once where the secret is");
                self.refuse(&name.place, fault.help("keep one of `secret_manager`, `file` and `env`"));
                return None;
            }
        };
        Some(SecretRef { name: name.value.clone(), source, refresh: refresh.unwrap_or(REFRESH) })
    }

    fn variable(&mut self, entry: &Spanned<String>) -> Option<SecretSource> {
        let variable = &entry.value;
        let help =
            "set it before the start, and write only its name here, such as `env: SLACK_SIGNING_SECRET`";
        match self.environment.get(variable) {
            Some(value) if !value.trim_ascii().is_empty() => Some(SecretSource::Environment {
                variable: variable.clone(),
                value: Secret::new(value.trim_end_matches(['\r', '\n'])),
            }),
            Some(_) => {
                self.refuse(
                    &entry.place,
                    Fault::new("names an environment variable that is empty").help(help),
                );
                None
            }
            None => {
                // Not repeated: what is put here by mistake is the secret itself.
                self.refuse(
                    &entry.place,
                    Fault::new("names an environment variable that is not set").help(help),
                );
                None
            }
        }
    }

    fn refuse_refresh(&mut self, file: &mirror::Secret, constant: bool, why: &str) {
        if let Some(entry) = file.refresh.as_ref().filter(|_| constant) {
            self.refuse(&entry.place, Fault::new(format!("has no effect: {why}")).help("leave it out"));
        }
    }

    /// The index of the secret that a sender's scheme names.
    pub(super) fn named_secret(&mut self, entry: &Spanned<String>, secrets: &Secrets) -> Option<usize> {
        let found = secrets.iter().position(|(name, _)| name.value == entry.value);
        if found.is_none() && !self.problems.iter().any(|problem| problem.key() == "secrets") {
            let names = secrets.iter().map(|(name, _)| name.value.as_str());
            let help = did_you_mean(&entry.value, names.clone()).unwrap_or_else(|| {
                let names: Vec<&str> = names.collect();
                if names.is_empty() {
                    "say under `secrets` where it is; the secret itself is never part of the file".to_owned()
                } else {
                    format!("the secrets are {}", names.join(", "))
                }
            });
            let what = "names a secret that is not under `secrets`";
            self.refuse(&entry.place, Fault::new(what).help(help));
        }
        found
    }
}

fn refresh(text: &str) -> Result<Duration, Fault> {
    let duration = timeout(text)?;
    if duration < LEAST_REFRESH {
        return Err(Fault::new(format!("{} is shorter than a second", shown(text))));
    }
    Ok(duration)
}

/// The resource name of a version
/// (<https://docs.cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions>).
fn version_name(text: &str) -> Result<String, Fault> {
    let word = |word: &&str| {
        // Projects of a domain have names such as `example.com:project`.
        let dots = word.bytes().all(|b| b == b'.');
        !dots && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    let parts: Vec<&str> = text.split('/').collect();
    let fits = match parts.as_slice() {
        ["projects", project, "secrets", secret, "versions", version] => {
            [project, secret, version].into_iter().all(word)
        }
        ["projects", project, "locations", location, "secrets", secret, "versions", version] => {
            [project, location, secret, version].into_iter().all(word)
        }
        _ => false,
    };
    let last = parts.last().copied().unwrap_or_default();
    let version = last == "latest" || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()));
    if fits && version {
        return Ok(text.to_owned());
    }
    // Not repeated: what is put here by mistake is the secret itself.
    Err(Fault::new("is not the name of a secret's version")
        .help("write `projects/PROJECT/secrets/SECRET/versions/latest`, or a number in place of `latest`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_resource_names() {
        for text in [
            "projects/1234/secrets/Slack_Signing-Secret/versions/latest",
            "projects/p/secrets/s/versions/3",
            "projects/p/locations/europe-west1/secrets/s/versions/latest",
        ] {
            assert!(version_name(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "latest",
            "projects/p/secrets/s",
            "projects/p/secrets/s/versions/newest",
            "projects//secrets/s/versions/1",
            "projects/p/secrets/../versions/1",
            "projects/p/secrets/s?x/versions/1",
            "/projects/p/secrets/s/versions/1",
        ] {
            assert!(version_name(text).is_err(), "{text}");
        }
    }
}
