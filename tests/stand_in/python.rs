//! Google's own Python library against the stand-in.

#[path = "../python/interpreter.rs"]
mod interpreter;

use portcullis::dev::google::Endpoint;

use self::interpreter::python;
use super::stand_in;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn googles_own_library_is_content() {
    let (google, _) = stand_in().await;
    let origin = google.base_url().to_string();
    let output = tokio::task::spawn_blocking(move || python("google_auth_roundtrip.py", &[&origin]));
    let output = output.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(google.calls(Endpoint::Metadata) > 5 && google.calls(Endpoint::Certs) > 5);
}
