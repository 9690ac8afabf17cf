//! Whole sign-ins in a browser that follows redirects and keeps cookies as RFC 6265 has it. However Google answers,
//! nobody is sent round in circles.

use super::*;

/// How Google answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Obliging(&'static str),
    /// Wants to see the person whenever it was told to show nothing.
    Curious,
    Denying,
}

struct Browser {
    login: Login,
    flow: Flow,
    jar: BTreeMap<String, (String, bool)>,
    keeps_sessions: bool,
    mood: Mood,
    now: UnixTime,
    /// How often it went to Google.
    trips: usize,
}

/// Where following redirects ended.
struct End {
    path: String,
    reply: Option<Reply>,
}

impl Browser {
    fn new(flow: Flow, mood: Mood) -> Self {
        Self {
            login: login(flow),
            flow,
            jar: BTreeMap::new(),
            keeps_sessions: true,
            mood,
            now: NOW,
            trips: 0,
        }
    }

    /// Sends a request with the cookies that fit and keeps what comes back.
    async fn send(&mut self, mut ask: Ask, cross_site_post: bool) -> Option<Reply> {
        for (name, (value, everywhere)) in &self.jar {
            if *everywhere || !cross_site_post {
                ask = ask.cookie(name, value);
            }
        }
        let reply = match Endpoint::of(&ask.path) {
            Some(_) => ask.to(&self.login, self.now).await,
            None => self.gate(&ask).await?,
        };
        for (name, value, attributes) in set_cookies(&reply) {
            assert!(
                attributes.contains("Secure")
                    && attributes.contains("Path=/;")
                    && !attributes.contains("Domain")
            );
            if attributes.contains("Max-Age=0") {
                self.jar.remove(&name);
            } else if name != SESSION || self.keeps_sessions {
                self.jar.insert(name, (value, attributes.contains("SameSite=None")));
            }
        }
        Some(reply)
    }

    /// What the gate does with a page: nothing when the session is good.
    async fn gate(&self, ask: &Ask) -> Option<Reply> {
        match self.login.by_cookie(&ask.visit(), self.now).await {
            presented::Found::Good(identity) => self.login.renew(&ask.visit(), &identity, self.now),
            presented::Found::Nothing | presented::Found::Ambiguous | presented::Found::Bad(_) => {
                Some(self.login.begin(&ask.visit(), self.now))
            }
        }
    }

    /// Opens a page and follows every redirect to its end: a page of ours, or the upstream's (no reply).
    async fn open(&mut self, target: &str) -> End {
        let mut ask = Ask::page(target);
        let mut cross_site_post = false;
        for _ in 0..10 {
            let path = ask.path.clone();
            let Some(reply) = self.send(ask, cross_site_post).await else { return End { path, reply: None } };
            cross_site_post = false;
            ask = match reply.status.as_u16() {
                302 => {
                    cross_site_post = self.flow == Flow::IdToken;
                    self.google(&reply)
                }
                303 => Ask::page(&location(&reply)),
                _ => return End { path, reply: Some(reply) },
            };
        }
        panic!("went round in circles");
    }

    /// Google, and the callback page.
    fn google(&mut self, reply: &Reply) -> Ask {
        self.trips += 1;
        let query = question(reply);
        let silent = query.get("prompt").is_some_and(|prompt| prompt == "none");
        let state = ("state", query["state"].as_str());
        let (path, field) = match self.flow {
            Flow::AccessToken => ("/.portcullis/session", "access_token"),
            Flow::IdToken => ("/.portcullis/callback", "id_token"),
        };
        let id_token = query.get("nonce").map(|nonce| {
            format!(
                "eyJhbGciOiJSUzI1NiJ9.{}.c2ln",
                URL_SAFE_NO_PAD.encode(format!(r#"{{"nonce":"{nonce}"}}"#))
            )
        });
        match self.mood {
            Mood::Denying => Ask::form(path, &[("error", "access_denied"), state]),
            Mood::Curious if silent => Ask::form(path, &[("error", "interaction_required"), state]),
            Mood::Curious => Ask::form(path, &[(field, id_token.as_deref().unwrap_or(ADA)), state]),
            Mood::Obliging(token) => Ask::form(path, &[(field, id_token.as_deref().unwrap_or(token)), state]),
        }
    }
}

#[tokio::test]
async fn signing_in_takes_one_trip() {
    for flow in [Flow::AccessToken, Flow::IdToken] {
        let mut browser = Browser::new(flow, Mood::Obliging(ADA));
        let end = browser.open("/app?x=1").await;
        assert!(end.reply.is_none() && end.path == "/app");
        assert_eq!(browser.trips, 1);
        let names: Vec<_> = browser.jar.keys().map(String::as_str).collect();
        assert_eq!(names, [SESSION, "__Host-portcullis-hint", "__Host-portcullis-last"]);
        // Back after the session has ended: the account is known, one silent trip.
        browser.now = UnixTime(NOW.0 + 50);
        browser.jar.remove(SESSION);
        assert!(browser.open("/app").await.reply.is_none());
        assert_eq!(browser.trips, 2);
    }
}

#[tokio::test]
async fn a_browser_that_keeps_no_session_gets_a_page() {
    let mut browser = Browser::new(Flow::AccessToken, Mood::Obliging(ADA));
    browser.keeps_sessions = false;
    let end = browser.open("/app").await;
    assert!(text(&end.reply.unwrap()).contains("did not keep the session"));
    assert_eq!(browser.trips, 1);
}

#[tokio::test]
async fn a_curious_google_gets_a_button_then_a_person() {
    for flow in [Flow::AccessToken, Flow::IdToken] {
        let mut browser = Browser::new(flow, Mood::Curious);
        browser
            .jar
            .insert("__Host-portcullis-hint".into(), (URL_SAFE_NO_PAD.encode("ada@example.com"), false));
        let page = browser.open("/app").await.reply.unwrap();
        assert_eq!((page.status.as_u16(), browser.trips), (200, 1));
        assert!(text(&page).contains("/.portcullis/login?return=%2Fapp&#38;go=1"));
        // The page once more, which is not silent now, or the button: either way in.
        let end = browser.open("/.portcullis/login?return=%2Fapp&go=1").await;
        assert!(end.reply.is_none() && end.path == "/app");
        assert_eq!(browser.trips, 2);
    }
}

#[tokio::test]
async fn who_cancels_stays_where_they_are() {
    let mut browser = Browser::new(Flow::AccessToken, Mood::Denying);
    let page = browser.open("/app").await.reply.unwrap();
    assert_eq!((page.status.as_u16(), browser.trips), (403, 1));
    let page = browser.open("/.portcullis/login?return=%2Fapp").await.reply.unwrap();
    assert_eq!((page.status.as_u16(), browser.trips), (200, 1));
}

#[tokio::test]
async fn renewal_happens_once_whatever_comes_of_it() {
    // The same token again, as near to its end as before.
    let mut browser = Browser::new(Flow::AccessToken, Mood::Obliging("ya29.near-its-end-near"));
    assert!(browser.open("/app").await.reply.is_none());
    assert_eq!(browser.trips, 1);
    browser.jar.remove("__Host-portcullis-last");
    assert!(browser.open("/app").await.reply.is_none());
    assert_eq!(browser.trips, 2);
    assert!(browser.open("/app").await.reply.is_none());
    assert_eq!(browser.trips, 2);
    // Google wants the person: the button, with a way on; and then the session serves until its end.
    browser.mood = Mood::Curious;
    browser.jar.remove("__Host-portcullis-last");
    let page = browser.open("/app").await.reply.unwrap();
    assert!(text(&page).contains("Please sign in again") && text(&page).contains("href=\"/app\""));
    assert!(browser.open("/app").await.reply.is_none());
    assert_eq!(browser.trips, 3);
}

#[tokio::test]
async fn tabs_do_not_get_into_each_others_way() {
    let mut browser = Browser::new(Flow::AccessToken, Mood::Obliging(ADA));
    let mut answers = Vec::new();
    for tab in ["/a", "/b", "/c", "/d", "/e"] {
        let reply = browser.send(Ask::page(tab), false).await.unwrap();
        answers.push(browser.google(&reply));
        browser.now.0 += 1;
    }
    assert_eq!(browser.jar.len(), 4);
    let mut ends = Vec::new();
    for answer in answers.into_iter().rev() {
        ends.push(location(&browser.send(answer, false).await.unwrap()));
    }
    // The first tab's attempt was dropped; by now there is a session, so it goes on to the start page.
    assert_eq!(ends, ["/e", "/d", "/c", "/b", "/"]);
}
