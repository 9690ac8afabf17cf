//! A real browser: Chromium without a window, with a profile of its own that goes with the value.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::background::{eventually, within};
use super::cdp::Cdp;
use super::tab::Tab;

/// A cookie in the browser's jar.
#[derive(Clone, Debug)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) domain: String,
    pub(crate) path: String,
    pub(crate) http_only: bool,
    pub(crate) secure: bool,
    /// `Strict`, `Lax`, `None`, or empty where the server did not say.
    pub(crate) same_site: String,
    /// Unix time; negative for cookies that end with the browser.
    pub(crate) expires: f64,
}

/// The browser. All of its processes end with the value.
pub(crate) struct Browser {
    child: Child,
    cdp: Arc<Cdp>,
    _profile: TempDir,
}

impl Browser {
    /// Starts the browser and waits until it takes commands.
    pub(crate) async fn start() -> Self {
        Self::launch(tempfile::tempdir().unwrap()).await
    }

    /// Starts the browser of somebody who allows no site any cookie.
    pub(crate) async fn start_without_cookies() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let preferences = json!({ "profile": { "default_content_setting_values": { "cookies": 2 } } });
        std::fs::create_dir(profile.path().join("Default")).unwrap();
        std::fs::write(profile.path().join("Default/Preferences"), preferences.to_string()).unwrap();
        Self::launch(profile).await
    }

    async fn launch(profile: TempDir) -> Self {
        let mut child = Command::new(binary())
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--window-size=1280,800",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own, so that its many processes can be ended together.
            .process_group(0)
            .spawn()
            .unwrap();
        let file = profile.path().join("DevToolsActivePort");
        let read = || {
            let text = std::fs::read_to_string(&file).ok()?;
            let (port, path) = text.trim().split_once('\n')?;
            Some((port.parse::<u16>().ok()?, path.to_owned()))
        };
        eventually("the browser to open its port", || read().is_some()).await;
        assert!(child.try_wait().unwrap().is_none(), "the browser ended at once");
        let (port, path) = read().unwrap();
        let cdp = Arc::new(Cdp::connect(port, &path).await);
        Self { child, cdp, _profile: profile }
    }

    /// Opens an empty tab.
    pub(crate) async fn tab(&self) -> Tab {
        let created = self.cdp.call("", "Target.createTarget", json!({ "url": "about:blank" })).await;
        let target = created["targetId"].as_str().unwrap().to_owned();
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = self.cdp.call("", "Target.attachToTarget", attach).await;
        Tab::attach(Arc::clone(&self.cdp), attached["sessionId"].as_str().unwrap(), &target).await
    }

    /// The whole jar, HttpOnly cookies included.
    pub(crate) async fn cookies(&self) -> Vec<Cookie> {
        let answer = self.cdp.call("", "Storage.getCookies", json!({})).await;
        answer["cookies"].as_array().unwrap().iter().map(cookie).collect()
    }

    /// The cookie of a name, if there is one.
    pub(crate) async fn cookie(&self, name: &str) -> Option<Cookie> {
        self.cookies().await.into_iter().find(|cookie| cookie.name == name)
    }

    /// Puts a cookie back with another value, all else unchanged.
    pub(crate) async fn alter_cookie(&self, name: &str, value: &str) {
        let answer = self.cdp.call("", "Storage.getCookies", json!({})).await;
        let cookies = answer["cookies"].as_array().unwrap();
        let mut cookie = cookies.iter().find(|cookie| cookie["name"] == name).unwrap().clone();
        cookie["value"] = value.into();
        let members = cookie.as_object_mut().unwrap();
        // The browser reports more than it takes back.
        for derived in ["size", "session", "partitionKeyOpaque", "partitionKey"] {
            members.remove(derived);
        }
        if members["expires"].as_f64().is_some_and(|expires| expires < 0.0) {
            members.remove("expires");
        }
        self.cdp.call("", "Storage.setCookies", json!({ "cookies": [cookie] })).await;
    }

    pub(crate) async fn delete_cookie(&self, name: &str) {
        let answer = self.cdp.call("", "Storage.getCookies", json!({})).await;
        let cookies = answer["cookies"].as_array().unwrap().iter();
        let mut kept: Vec<Value> = cookies.filter(|cookie| cookie["name"] != name).cloned().collect();
        for cookie in &mut kept {
            let session = cookie["session"] == true;
            let members = cookie.as_object_mut().unwrap();
            for derived in ["size", "session", "partitionKeyOpaque", "partitionKey"] {
                members.remove(derived);
            }
            if session {
                members.remove("expires");
            }
        }
        self.clear_cookies().await;
        self.cdp.call("", "Storage.setCookies", json!({ "cookies": kept })).await;
    }

    pub(crate) async fn clear_cookies(&self) {
        self.cdp.call("", "Storage.clearCookies", json!({})).await;
    }

    /// Waits until a cookie is there.
    pub(crate) async fn has_cookie(&self, name: &str) -> Cookie {
        within(&format!("the cookie {name}"), async {
            loop {
                if let Some(cookie) = self.cookie(name).await {
                    return cookie;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        // It may have ended by itself, which is just as well.
        killpg(group, Signal::SIGKILL).ok();
        drop(self.child.wait());
    }
}

fn cookie(value: &Value) -> Cookie {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Cookie {
        name: text("name"),
        value: text("value"),
        domain: text("domain"),
        path: text("path"),
        http_only: value["httpOnly"] == true,
        secure: value["secure"] == true,
        same_site: text("sameSite"),
        expires: value["expires"].as_f64().unwrap_or(-1.0),
    }
}

#[expect(clippy::disallowed_methods, reason = "the browser is looked for on the test's own PATH")]
fn binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let found =
        names.iter().flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)));
    let mut candidates = std::iter::once(PathBuf::from("/usr/bin/chromium")).chain(found);
    candidates.find(|candidate| candidate.is_file()).expect("Chromium or Chrome on PATH")
}
