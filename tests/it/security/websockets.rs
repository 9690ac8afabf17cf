//! Pages of other sites that open a WebSocket with the session of whoever looks at them: browsers send the
//! cookie, and ask nobody before (RFC 6455, section 10.2).

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::world::World;
use crate::harness::answer::Answer;
use crate::harness::background::within;
use crate::harness::glue::COOKIE;
use crate::harness::websocket::{Socket, connect};

fn world() -> World {
    let world = World::start();
    for path in ["/socket", "/public/socket"] {
        world.upstream.on(path, |request| Answer::websocket(&request.header("sec-websocket-key").unwrap()));
    }
    world
}

async fn assert_echoes(mut socket: Socket) {
    socket.send(Message::text("hello")).await.unwrap();
    let echoed = within("an echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(echoed.into_text().unwrap().as_str(), "hello");
}

#[tokio::test]
async fn a_session_opens_no_socket_for_pages_of_others() {
    let world = world();
    let address = world.gateway.address();
    let cookie = format!("{COOKIE}={}", world.member());
    let own = world.gateway.url();
    for origin in [
        "https://evil.test".to_owned(),
        "http://evil.test".to_owned(),
        "null".to_owned(),
        String::new(),
        "http://127.0.0.1".to_owned(),
        own.replace("http:", "https:"),
        own.replace("http:", "HTTP:"),
        format!("{own}.evil.test"),
        format!("{own}@evil.test"),
        format!("{own}/"),
        format!("{own}, https://evil.test"),
        format!("https://evil.test, {own}"),
        format!("http://evil.test/?{own}"),
    ] {
        world.upstream.forget();
        let headers = [("cookie", cookie.as_str()), ("origin", origin.as_str())];
        assert_eq!(connect(address, "/socket", &headers).await.err(), Some(403), "{origin:?}");
        // What a proxy in front of us would be told does not make an origin ours.
        let further =
            [headers[0], headers[1], ("x-forwarded-host", "evil.test"), ("x-forwarded-proto", "https")];
        assert_eq!(connect(address, "/socket", &further).await.err(), Some(403), "{origin:?}");
        world.upstream.assert_untouched();
    }
    world.still_serves().await;
}

#[tokio::test]
async fn a_session_opens_sockets_for_our_own_pages() {
    let world = world();
    let (address, own) = (world.gateway.address(), world.gateway.url());
    let cookie = format!("{COOKIE}={}", world.member());
    // Programs send no origin, and what they send is no browser's cookie.
    for headers in
        [&[("cookie", cookie.as_str()), ("origin", own.as_str())][..], &[("cookie", cookie.as_str())]]
    {
        world.upstream.forget();
        assert_echoes(connect(address, "/socket", headers).await.unwrap()).await;
        let seen = world.upstream.only();
        assert_eq!(seen.header("cookie"), None, "the session stays here");
        assert_eq!(seen.headers().all("x-goog-authenticated-user-email").len(), 1);
    }
}

/// Only cookies are sent by browsers on their own: a bearer token, or no credential, is nobody's to borrow.
#[tokio::test]
async fn other_credentials_do_not_depend_on_the_origin() {
    let world = world();
    let address = world.gateway.address();
    let (evil, bearer) = (("origin", "https://evil.test"), format!("Bearer {}", world.member()));
    assert_echoes(connect(address, "/socket", &[evil, ("authorization", &bearer)]).await.unwrap()).await;
    assert_echoes(connect(address, "/public/socket", &[evil]).await.unwrap()).await;
    world.upstream.forget();
    assert_eq!(connect(address, "/socket", &[evil]).await.err(), Some(401));
    world.upstream.assert_untouched();
}
