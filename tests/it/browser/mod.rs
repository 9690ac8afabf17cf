//! Sign-in and the gateway's pages in a real browser, with the stand-in for Google.
//!
//! The stand-in listens on `127.0.0.1` and the gateway is called `localhost`: to the browser these are two sites,
//! as Google's and the gateway's are.

mod attacks;
mod cookies;
mod cors;
mod pages;
mod person;
mod refusals;
mod renewal;
mod sign_in;
mod sign_out;

/// Runs each of the functions as a test of its own in both flows.
macro_rules! in_both_flows {
    ($($name:ident),+ $(,)?) => {
        mod access_token {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::harness::site::Flow::AccessToken).await;
            })+
        }
        mod id_token {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::harness::site::Flow::IdToken).await;
            })+
        }
    };
}
use in_both_flows;
