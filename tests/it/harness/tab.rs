//! A tab of the browser: what a person does with it, and what a developer would see in its tools.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::background::within;
use super::cdp::Cdp;

/// A colour scheme that the person prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

/// A request of the tab, with the redirects that it followed.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) method: String,
    /// Where it arrived in the end.
    pub(crate) url: String,
    /// `Document`, `Stylesheet`, `Fetch` and so on.
    pub(crate) kind: String,
    /// Status and URL of every redirect, in order.
    pub(crate) redirects: Vec<(u16, String)>,
    /// Status of the last answer, once it is there.
    pub(crate) status: Option<u16>,
}

/// A tab. It stays open as long as the browser.
pub(crate) struct Tab {
    cdp: Arc<Cdp>,
    session: String,
    target: String,
}

/// Reports violations of the content security policy; the page cannot take it away.
const LISTENER: &str = "document.addEventListener('securitypolicyviolation', event =>
    __violation(`${event.effectiveDirective} ${event.blockedURI}`));";

impl Tab {
    pub(super) async fn attach(cdp: Arc<Cdp>, session: &str, target: &str) -> Self {
        let tab = Self { cdp, session: session.to_owned(), target: target.to_owned() };
        for domain in ["Page", "Runtime", "Network", "Log", "Audits"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        tab.call("Page.setLifecycleEventsEnabled", json!({ "enabled": true })).await;
        tab.call("Runtime.addBinding", json!({ "name": "__violation" })).await;
        tab.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": LISTENER })).await;
        tab
    }

    /// Any command of the protocol.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        self.cdp.call(&self.session, method, params).await
    }

    /// Goes to a URL and waits until the page that it leads to is loaded. Scripts of that page may go on
    /// elsewhere: see [`Tab::arrives`].
    pub(crate) async fn goto(&self, url: &str) {
        let answer = self.call("Page.navigate", json!({ "url": url })).await;
        let error = answer["errorText"].as_str().unwrap_or_default();
        assert!(error.is_empty(), "cannot go to {url}: {error}");
        let loader = answer["loaderId"].as_str().unwrap_or_default().to_owned();
        within(&format!("{url} to load"), async {
            while !self.loaded(&loader) {
                tick().await;
            }
        })
        .await;
    }

    fn loaded(&self, loader: &str) -> bool {
        let events = self.cdp.events(&self.session, "Page.lifecycleEvent");
        // A page that moves on by itself, before it is loaded, never says so.
        let at = events.iter().position(|event| event["loaderId"] == loader);
        let Some(at) = at else { return false };
        events[at..].iter().any(|event| event["name"] == "load")
    }

    /// Evaluates an expression, and waits for it if it is a promise.
    pub(crate) async fn try_evaluate(&self, script: &str) -> Result<Value, String> {
        let params =
            json!({ "expression": script, "returnByValue": true, "awaitPromise": true, "userGesture": true });
        let mut answer = self.cdp.try_call(&self.session, "Runtime.evaluate", params).await?;
        if let Some(exception) = answer.get("exceptionDetails") {
            return Err(exception["exception"]["description"].as_str().unwrap_or("exception").to_owned());
        }
        Ok(answer["result"]["value"].take())
    }

    /// Evaluates an expression that must not fail.
    pub(crate) async fn evaluate(&self, script: &str) -> Value {
        self.try_evaluate(script).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until an expression is true. Pages may come and go meanwhile.
    pub(crate) async fn until(&self, script: &str) {
        within(&format!("{script} to be true in the page"), async {
            while self.try_evaluate(script).await != Ok(Value::Bool(true)) {
                tick().await;
            }
        })
        .await;
    }

    /// Waits until the tab shows a whole page whose URL begins like this.
    pub(crate) async fn arrives(&self, prefix: &str) {
        let prefix = Value::from(prefix);
        self.until(&format!("location.href.startsWith({prefix}) && document.readyState === 'complete'"))
            .await;
    }

    pub(crate) async fn title(&self) -> String {
        self.evaluate("document.title").await.as_str().unwrap_or_default().to_owned()
    }

    /// The text that a person sees.
    pub(crate) async fn text(&self) -> String {
        self.evaluate("document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks the middle of an element with the mouse, once it is there.
    pub(crate) async fn click(&self, selector: &str) {
        let quoted = Value::from(selector);
        self.until(&format!("document.querySelector({quoted}) !== null")).await;
        let place = self
            .evaluate(&format!(
                "(() => {{ const element = document.querySelector({quoted});
                    element.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                    const box = element.getBoundingClientRect();
                    return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
            ))
            .await;
        for (kind, buttons) in [("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)] {
            let event = json!({
                "type": kind, "x": place[0], "y": place[1], "buttons": buttons,
                "button": if kind == "mouseMoved" { "none" } else { "left" }, "clickCount": 1,
            });
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Types into a field, once it is there.
    pub(crate) async fn enter(&self, selector: &str, text: &str) {
        let quoted = Value::from(selector);
        self.until(&format!("document.querySelector({quoted}) !== null")).await;
        self.evaluate(&format!("document.querySelector({quoted}).focus()")).await;
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    pub(crate) async fn prefer(&self, scheme: Scheme) {
        let value = if scheme == Scheme::Dark { "dark" } else { "light" };
        // Without transitions, lest a picture shows the way from one scheme to the other.
        let features = json!([
            { "name": "prefers-color-scheme", "value": value },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Pictures of the page as it is, in both colour schemes: `NAME-light.png` and `NAME-dark.png`.
    pub(crate) async fn screenshots(&self, name: &str) -> [PathBuf; 2] {
        self.prefer(Scheme::Light).await;
        let light = self.screenshot(&format!("{name}-light")).await;
        self.prefer(Scheme::Dark).await;
        let dark = self.screenshot(&format!("{name}-dark")).await;
        self.prefer(Scheme::Light).await;
        [light, dark]
    }

    /// A picture of the page at `target/screenshots/NAME.png`.
    pub(crate) async fn screenshot(&self, name: &str) -> PathBuf {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let bytes = STANDARD.decode(answer["data"].as_str().unwrap()).unwrap();
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// What scripts wrote to the console, as `level: text`.
    pub(crate) fn console(&self) -> Vec<String> {
        let events = self.cdp.events(&self.session, "Runtime.consoleAPICalled");
        let show = |event: &Value| {
            let arguments = event["args"].as_array().cloned().unwrap_or_default();
            let parts: Vec<_> = arguments.iter().map(argument).collect();
            format!("{}: {}", event["type"].as_str().unwrap_or_default(), parts.join(" "))
        };
        events.iter().map(show).collect()
    }

    /// Exceptions that nothing caught.
    pub(crate) fn exceptions(&self) -> Vec<String> {
        let events = self.cdp.events(&self.session, "Runtime.exceptionThrown");
        let show = |event: &Value| {
            let details = &event["exceptionDetails"];
            details["exception"]["description"]
                .as_str()
                .or(details["text"].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        events.iter().map(show).collect()
    }

    /// What the browser itself complained about, as `level: text`.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let events = self.cdp.events(&self.session, "Log.entryAdded");
        let show = |event: &Value| {
            let entry = &event["entry"];
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            format!("{}: {} {}", text("level"), text("text"), text("url"))
        };
        events.iter().map(show).collect()
    }

    /// Violations of the content security policy, from all three places where they can show up.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for event in self.cdp.events(&self.session, "Runtime.bindingCalled") {
            if event["name"] == "__violation" {
                found.push(event["payload"].as_str().unwrap_or_default().to_owned());
            }
        }
        for event in self.cdp.events(&self.session, "Audits.issueAdded") {
            if event["issue"]["code"] == "ContentSecurityPolicyIssue" {
                found.push(event["issue"]["details"]["contentSecurityPolicyIssueDetails"].to_string());
            }
        }
        found.extend(self.complaints().into_iter().filter(|text| text.contains("Content Security Policy")));
        found
    }

    /// Every request of the tab, in order.
    pub(crate) fn fetches(&self) -> Vec<Fetch> {
        let mut fetches: Vec<(String, Fetch)> = Vec::new();
        for event in self.cdp.all_events(&self.session) {
            let params = &event.params;
            let id = params["requestId"].as_str().unwrap_or_default();
            let known = fetches.iter_mut().rfind(|(known, _)| known == id).map(|(_, fetch)| fetch);
            match (event.method.as_str(), known) {
                ("Network.requestWillBeSent", Some(fetch)) => {
                    let answer = &params["redirectResponse"];
                    fetch.redirects.push((status(answer), fetch.url.clone()));
                    text(&params["request"]["url"]).clone_into(&mut fetch.url);
                    text(&params["request"]["method"]).clone_into(&mut fetch.method);
                }
                ("Network.requestWillBeSent", None) => fetches.push((
                    id.to_owned(),
                    Fetch {
                        method: text(&params["request"]["method"]).to_owned(),
                        url: text(&params["request"]["url"]).to_owned(),
                        kind: text(&params["type"]).to_owned(),
                        redirects: Vec::new(),
                        status: None,
                    },
                )),
                ("Network.responseReceived", Some(fetch)) => fetch.status = Some(status(&params["response"])),
                _ => {}
            }
        }
        fetches.into_iter().map(|(_, fetch)| fetch).collect()
    }

    /// Forgets what was seen so far, so that the next steps can be counted by themselves.
    pub(crate) fn forget(&self) {
        self.cdp.forget(&self.session);
    }

    /// Closes the tab.
    pub(crate) async fn close(self) {
        self.cdp.call("", "Target.closeTarget", json!({ "targetId": self.target })).await;
    }
}

async fn tick() {
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn status(response: &Value) -> u16 {
    response["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default()
}

fn argument(value: &Value) -> String {
    match &value["value"] {
        Value::String(text) => text.clone(),
        Value::Null => value["description"].as_str().unwrap_or_default().to_owned(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    }
}
