//! Mirror → [`Config`]: every value parsed, every default filled in, every contradiction found.
//!
//! Where a value is wrong, its default stands in until the end, so that the rest is checked as well; the problem
//! that was noted keeps such a configuration from ever leaving this module.

mod address;
mod allow;
mod certificate;
mod cors;
mod google;
mod limits;
mod location;
mod message;
mod risks;
mod secret;
mod traces;
mod unused;
mod upstream;
mod value;
mod wal;
mod webhook;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use log::LevelFilter;

use super::file::{self, Node, Value};
use super::mirror::{self, List};
use super::problem::{Fault, Place, Problem, Problems, Spanned, shown};
use super::read::{FromNode, Reader, Scalar};
use super::{Cache, Config, Environment, Flow, Log, LogFormat, LogRequests, Login, Wal};
pub use certificate::read_certificate;
use value::{choice, cookie_name, scope, short_duration};

/// The version of the format that is understood.
const VERSION: u64 = 1;
/// Largest file in bytes; a configuration is a few kilobytes.
const MAX_FILE: u64 = 1024 * 1024;
/// What to do when there is no file.
const NO_FILE: &str = "name one with `--config` or PORTCULLIS_CONFIG; conf/cloudrun.yaml is a start";
/// Listener without `listen`.
const LISTEN: &str = "0.0.0.0:${PORT:-8080}";
/// Most proxies that may be trusted with `X-Forwarded-For`.
const MAX_TRUSTED_HOPS: u64 = 8;
/// The long name of the scope `email`.
const EMAIL_SCOPE: &str = "https://www.googleapis.com/auth/userinfo.email";
/// Most entries of the cache.
const MAX_ENTRIES: u64 = 10_000_000;

/// Reads and resolves a file.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, Problems> {
    load_noting(path, environment).0
}

/// The same, with all files on which the result depends, those included that could not be read.
pub fn load_noting(path: &Path, environment: &Environment) -> (Result<Config, Problems>, Vec<PathBuf>) {
    let mut files = vec![path.to_owned()];
    let config = read(path).and_then(|text| {
        let (config, named) = parse_noting(&text, &path.display().to_string(), environment);
        files.extend(named);
        config
    });
    (config, files)
}

fn read(path: &Path) -> Result<String, Problems> {
    let name = path.display().to_string();
    let whole = |what: String| Problems::new(&name, vec![Fault::new(what).at(&Place::default())]);
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(|error| {
        let fault = Fault::new(format!("cannot be read: {error}"));
        let help = (error.kind() == std::io::ErrorKind::NotFound).then(|| NO_FILE.to_owned());
        Problems::new(&name, vec![fault.maybe_help(help).at(&Place::default())])
    })?;
    if u64::try_from(bytes.len()).map_or(true, |length| length > MAX_FILE) {
        return Err(whole(format!("is larger than {MAX_FILE} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        Problems::new(&name, vec![Fault::new("this is not UTF-8 text").at(&after(before))])
    })
}

/// Resolves the text of a file that messages call `name`. Relative paths in it begin at the folder of that name.
pub fn parse(text: &str, name: &str, environment: &Environment) -> Result<Config, Problems> {
    parse_noting(text, name, environment).0
}

fn parse_noting(
    text: &str,
    name: &str,
    environment: &Environment,
) -> (Result<Config, Problems>, Vec<PathBuf>) {
    let (file, root, problems) = match mirror(text, environment) {
        Ok(mirror) => mirror,
        Err(problems) => return (Err(Problems::new(name, problems)), Vec::new()),
    };
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    let mut resolver = Resolver { environment, folder, problems, files: Vec::new() };
    let config = resolver.config(&file, &root);
    let result = match config {
        Some(mut config) if resolver.problems.is_empty() => {
            config.warnings = resolver.risks(name, &file, &config);
            Ok(config)
        }
        _ => Err(Problems::new(name, resolver.problems)),
    };
    (result, resolver.files)
}

/// The mirror of a file, the place of its first key, and what did not fit.
fn mirror(
    text: &str,
    environment: &Environment,
) -> Result<(mirror::File, Place, Vec<Problem>), Vec<Problem>> {
    let node = file::tree(text).map_err(|problem| vec![problem])?;
    let root = Place { line: node.line, column: node.column, key: String::new() };
    if matches!(node.value, Value::Null) {
        return Err(vec![Fault::new("the file is empty").help("begin with `version: 1`").at(&root)]);
    }
    version(&node, environment)?;
    let mut reader = Reader::new(environment);
    let file = mirror::File::from_node(node, &root, &mut reader);
    match file {
        Some(file) => Ok((file, root, reader.problems)),
        None => Err(reader.problems),
    }
}

/// Refuses a file of another version before anything else is said about it: its keys may have other meanings.
fn version(root: &Node, environment: &Environment) -> Result<(), Vec<Problem>> {
    let Value::Map(entries) = &root.value else { return Ok(()) };
    let Some((_, node)) = entries.iter().find(|(key, _)| key.name == "version") else { return Ok(()) };
    // What this reader notes is dropped: a version that is no number is noted when the file is read.
    match Reader::new(environment).read::<u64>(node.clone(), "version".to_owned()) {
        Some(version) if version.value != VERSION => {
            let fault = Fault::new(format!("version {} is not known", version.value));
            Err(vec![fault.help("this program reads `version: 1`").at(&version.place)])
        }
        _ => Ok(()),
    }
}

/// The position behind this text.
fn after(before: &[u8]) -> Place {
    let text = String::from_utf8_lossy(before);
    let last = text.rsplit('\n').next().unwrap_or_default();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Place {
        line: count(text.matches('\n').count() + 1),
        column: count(last.chars().count() + 1),
        key: String::new(),
    }
}

/// What locations refer to.
struct Named<'a> {
    upstreams: &'a upstream::Upstreams,
    secrets: &'a secret::Secrets,
    wal: Option<&'a Wal>,
}

/// Turns the mirror into values, and collects what is wrong.
struct Resolver<'a> {
    environment: &'a Environment,
    /// Where relative paths begin: beside the file.
    folder: &'a Path,
    problems: Vec<Problem>,
    /// The files that the configuration names and depends on.
    files: Vec<PathBuf>,
}

impl Resolver<'_> {
    /// The whole configuration. Nothing only when something is wrong, but not always then.
    fn config(&mut self, file: &mirror::File, root: &Place) -> Option<Config> {
        if file.version.is_none() {
            self.missing(root, "version", "begin the file with `version: 1`");
        }
        self.check_accepted(file);
        let listen = self.listen(file.listen.as_ref());
        let admin = self.value(file.admin.as_ref(), address::socket);
        if let (Some(admin), Some(entry)) = (admin, &file.admin)
            && address::collide(listen, admin)
        {
            self.refuse(&entry.place, Fault::new(format!("{admin} is taken by `listen`")));
        }
        let tls = self.listener_tls(file.tls.as_ref());
        let google = self.google(file.google.as_ref());
        let endpoints = self.endpoints(file.google.as_ref());
        let login = self.login(file.login.as_ref());
        let upstreams = self.upstreams(file.upstreams.as_ref());
        let secrets = self.secrets(file.secrets.as_ref());
        let wal = self.wal(file.wal.as_ref());
        let shared = Named { upstreams: &upstreams, secrets: &secrets, wal: wal.as_ref() };
        let locations = self.locations(file, root, login.flow, &shared);
        let trusted_hops = self.trusted_hops(file.trusted_hops.as_ref());
        let limits = self.limits(file.limits.as_ref(), trusted_hops);
        self.bodies_fit(file.limits.as_ref(), &limits, &locations);
        Some(Config {
            listen,
            tls,
            public_url: self.value(file.public_url.as_ref(), address::public_url),
            admin,
            trusted_hops,
            log: self.log(file.log.as_ref()),
            traces: self.traces(file.traces.as_ref()),
            google,
            endpoints: endpoints?,
            login,
            cache: self.cache(file.cache.as_ref()),
            secrets: secrets.into_iter().filter_map(|(_, secret)| secret).collect(),
            wal,
            limits,
            upstreams: upstreams.into_iter().filter_map(|(_, upstream)| upstream).collect(),
            locations,
            warnings: Vec::new(),
        })
    }

    fn listen(&mut self, entry: Option<&Spanned<Scalar>>) -> SocketAddr {
        let fallback = SocketAddr::from(([0, 0, 0, 0], 8080));
        if let Some(entry) = entry {
            return self.value(Some(entry), address::socket).unwrap_or(fallback);
        }
        let text = self.environment.expand(LISTEN).unwrap_or_default();
        address::socket(&text).unwrap_or_else(|_| {
            let port = self.environment.get("PORT").unwrap_or_default();
            let fault = Fault::new(format!("the environment's PORT is {}, which is no port", shown(&port)));
            self.refuse(&Place { key: "listen".to_owned(), ..Place::default() }, fault);
            fallback
        })
    }

    fn trusted_hops(&mut self, entry: Option<&Spanned<u64>>) -> u8 {
        let Some(entry) = entry else {
            // Cloud Run's front end is one proxy, and nothing reaches the container past it.
            return u8::from(self.environment.get("K_SERVICE").is_some());
        };
        match u8::try_from(entry.value) {
            Ok(hops) if entry.value <= MAX_TRUSTED_HOPS => hops,
            _ => {
                let what = format!("{} is more than {MAX_TRUSTED_HOPS} proxies", entry.value);
                self.refuse(&entry.place, Fault::new(what));
                0
            }
        }
    }

    fn log(&mut self, section: Option<&Spanned<mirror::Log>>) -> Log {
        let section = section.map(|section| &section.value);
        let format = section.and_then(|log| log.format.as_ref());
        let level = section.and_then(|log| log.level.as_ref());
        let requests = section.and_then(|log| log.requests.as_ref());
        Log {
            format: self
                .value(
                    format,
                    choice(&[
                        ("auto", LogFormat::Auto),
                        ("text", LogFormat::Text),
                        ("json", LogFormat::Json),
                    ]),
                )
                .unwrap_or(LogFormat::Auto),
            level: self
                .value(
                    level,
                    choice(&[
                        ("off", LevelFilter::Off),
                        ("error", LevelFilter::Error),
                        ("warn", LevelFilter::Warn),
                        ("info", LevelFilter::Info),
                        ("debug", LevelFilter::Debug),
                        ("trace", LevelFilter::Trace),
                    ]),
                )
                .unwrap_or(LevelFilter::Info),
            requests: self
                .value(
                    requests,
                    choice(&[
                        ("all", LogRequests::All),
                        ("refused", LogRequests::Refused),
                        ("none", LogRequests::None),
                    ]),
                )
                .unwrap_or(LogRequests::Refused),
        }
    }

    fn login(&mut self, section: Option<&Spanned<mirror::Login>>) -> Login {
        let file = section.map(|section| &section.value);
        let flows = [("access_token", Flow::AccessToken), ("id_token", Flow::IdToken)];
        let flow = self.value(file.and_then(|login| login.flow.as_ref()), choice(&flows));
        let flow = flow.unwrap_or(Flow::AccessToken);
        let cookie = self.value(file.and_then(|login| login.cookie.as_ref()), cookie_name);
        let scopes = match file.and_then(|login| login.scopes.as_ref()) {
            Some(entry) => self.scopes(entry, flow),
            None => vec!["openid".to_owned(), "email".to_owned()],
        };
        Login { flow, scopes, cookie: cookie.unwrap_or_else(|| "__Host-portcullis".to_owned()) }
    }

    fn scopes(&mut self, entry: &Spanned<List<String>>, flow: Flow) -> Vec<String> {
        let scopes = self.list(Some(entry), scope);
        let holds = |name: &str| scopes.iter().any(|scope| scope == name);
        if self.blamed(&entry.place.key) {
            return scopes;
        }
        if !holds("email") && !holds(EMAIL_SCOPE) {
            let fault = Fault::new("`email` is not among the scopes");
            self.refuse(&entry.place, fault.help("without it, Google does not say who somebody is"));
        }
        if flow == Flow::IdToken && !holds("openid") {
            let fault = Fault::new("`openid` is not among the scopes");
            self.refuse(&entry.place, fault.help("without it, Google gives no ID token (`flow: id_token`)"));
        }
        scopes
    }

    fn cache(&mut self, section: Option<&Spanned<mirror::Cache>>) -> Cache {
        let file = section.map(|section| section.value.clone()).unwrap_or_default();
        let default = Cache {
            verified: std::time::Duration::from_secs(60),
            rejected: std::time::Duration::from_secs(10),
            entries: 100_000,
        };
        let entries = file.entries.as_ref().map(|entry| {
            if !(1..=MAX_ENTRIES).contains(&entry.value) {
                let what = format!("must be from 1 to {MAX_ENTRIES}, not {}", entry.value);
                self.refuse(&entry.place, Fault::new(what));
            }
            usize::try_from(entry.value).unwrap_or(default.entries)
        });
        Cache {
            verified: self.value(file.verified.as_ref(), short_duration).unwrap_or(default.verified),
            rejected: self.value(file.rejected.as_ref(), short_duration).unwrap_or(default.rejected),
            entries: entries.unwrap_or(default.entries),
        }
    }

    /// Parses a value if it is set, and notes what is wrong with it.
    fn value<S: AsRef<str>, T>(
        &mut self,
        entry: Option<&Spanned<S>>,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let entry = entry?;
        parse(entry.value.as_ref()).map_err(|fault| self.refuse(&entry.place, fault)).ok()
    }

    /// Parses the items of a list; those that are wrong are noted and left out.
    fn list<T>(
        &mut self,
        list: Option<&Spanned<List<String>>>,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Vec<T> {
        let items = list.map(|list| list.value.as_slice()).unwrap_or_default();
        items.iter().filter_map(|item| self.value(Some(item), &parse)).collect()
    }

    fn refuse(&mut self, place: &Place, fault: Fault) {
        self.problems.push(fault.at(place));
    }

    /// Notes that a required key is missing, unless it is there and could not be read.
    fn missing(&mut self, section: &Place, name: &str, help: &str) {
        let place = section.of_member(name);
        if !self.blamed(&place.key) {
            self.refuse(&place, Fault::new("is missing").help(help));
        }
    }

    /// Whether something is wrong at this key or below it.
    fn blamed(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| {
            problem
                .key()
                .strip_prefix(key)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }
}
