//! WebSockets through the gateway.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::harness::background::within;
use crate::harness::site::{Flow, Site};
use crate::harness::websocket::{Socket, connect};

/// Ten messages each way and the closing handshake.
pub(crate) async fn converse(mut socket: Socket) {
    for number in 0..10 {
        let text = Message::text(format!("message {number}"));
        let binary = Message::binary(vec![u8::try_from(number).unwrap(); 70_000]);
        for message in [text, binary] {
            socket.send(message.clone()).await.unwrap();
            assert_eq!(within("the echo", socket.next()).await.unwrap().unwrap(), message);
        }
    }
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
    socket.close(Some(goodbye)).await.unwrap();
    let answer = within("the other side's goodbye", socket.next()).await.unwrap().unwrap();
    let Message::Close(Some(frame)) = answer else { panic!("{answer:?}") };
    assert_eq!(frame.code, CloseCode::Normal);
    assert!(within("the end", socket.next()).await.is_none());
}

#[tokio::test]
async fn with_a_bearer_token() {
    let site = Site::start(Flow::AccessToken).await;
    let bearer = site.bearer();
    let socket = connect(site.address(), "/ws", &[("authorization", &bearer)]).await.unwrap();
    converse(socket).await;
    let seen = site.echo.requests().pop().unwrap();
    assert_eq!(seen.header("x-goog-authenticated-user-email"), Some("accounts.google.com:ada@example.com"));
    assert_eq!(seen.header("authorization"), None);
}

#[tokio::test]
async fn with_the_cookie_from_a_page_of_the_site() {
    let site = Site::start(Flow::AccessToken).await;
    let cookie = format!("theme=dark; __Host-portcullis={}", site.token("ada@example.com"));
    let headers = [("cookie", cookie.as_str()), ("origin", site.origin.as_str())];
    converse(connect(site.address(), "/ws", &headers).await.unwrap()).await;
    assert_eq!(site.echo.requests().pop().unwrap().header("cookie"), Some("theme=dark"));
}

#[tokio::test]
async fn pages_of_other_sites_and_strangers_are_refused() {
    let site = Site::start(Flow::AccessToken).await;
    let cookie = format!("__Host-portcullis={}", site.token("ada@example.com"));
    let other_port = format!("{}1", site.origin);
    for origin in ["https://evil.example", "null", "http://localhost", other_port.as_str()] {
        let refused = connect(site.address(), "/ws", &[("cookie", &cookie), ("origin", origin)]).await;
        assert_eq!(refused.err(), Some(403), "{origin}");
    }
    let mallory = format!("Bearer {}", site.token("mallory@other.example"));
    for (headers, status) in [
        (vec![], 401),
        (vec![("authorization", "Bearer ya29.nobody-knows-this")], 401),
        (vec![("authorization", mallory.as_str())], 403),
    ] {
        assert_eq!(connect(site.address(), "/ws", &headers).await.err(), Some(status));
    }
    assert!(site.echoed().is_empty());
}

/// It was authorised once; without an end of its own it would outlive the credential for days.
#[tokio::test]
async fn it_ends_with_the_credential_that_opened_it() {
    let site = Site::start(Flow::AccessToken).await;
    let token = site.token_for("ada@example.com", Duration::from_secs(3));
    let bearer = format!("Bearer {token}");
    let mut socket = connect(site.address(), "/ws", &[("authorization", &bearer)]).await.unwrap();
    let mut echoes = 0;
    let ended = within("the end of the connection", async {
        loop {
            if socket.send(Message::text("still there?")).await.is_err() {
                break;
            }
            match socket.next().await {
                Some(Ok(Message::Text(_))) => echoes += 1,
                _ => break,
            }
        }
    });
    ended.await;
    assert!(echoes > 0, "it was open before");
    site.gateway.says("invalid_credential");
}
