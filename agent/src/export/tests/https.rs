//! https: the system's roots decide whom to trust.

use super::*;
use crate::export::client::PushClient;
use crate::export::retry::{Decision, Outcome, decide};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// Tells the child process of the test where to push to.
const CHILD_URL: &str = "THERMOGRAPH_TEST_HTTPS_URL";

/// A self-signed certificate for `localhost` and its key, or `None` where there is no openssl.
fn certificate(directory: &Path) -> Option<()> {
    let status = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(directory)
        .output();
    match status {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            Some(())
        }
        Err(error) => {
            eprintln!("SKIPPED: https: openssl does not run: {error}");
            None
        }
    }
}

/// A TLS server that acknowledges one request on each connection, and its port.
fn serve(directory: &Path) -> u16 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = vec![CertificateDer::from_pem_file(directory.join("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(directory.join("key.pem")).unwrap();
    let config = Arc::new(
        ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut tls = StreamOwned::new(
                ServerConnection::new(config.clone()).unwrap(),
                stream.unwrap(),
            );
            // A client that does not trust the certificate ends here.
            if tls.read(&mut [0; 4096]).is_ok() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-length: 0\r\n\r\n";
                tls.write_all(answer).unwrap();
            }
        }
    });
    port
}

async fn push(url: &str) -> Outcome {
    let client = PushClient::new(&config(url)).unwrap();
    client.push(Bytes::from_static(b"x")).await
}

/// A certificate that the system does not know is a connection that was not made; one among the system's roots is trusted.
#[tokio::test]
async fn the_systems_roots_decide() {
    let directory = tempfile::tempdir().unwrap();
    let Some(()) = certificate(directory.path()) else {
        return;
    };
    let url = format!("https://localhost:{}", serve(directory.path()));

    let outcome = push(&url).await;
    assert!(
        matches!(&outcome, Outcome::NotSent(cause) if cause.contains("certificate")),
        "{outcome:?}"
    );

    // The roots are found through the environment, which must not change under the other tests of this process.
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "export::tests::https::child", "--ignored"])
        .env("SSL_CERT_FILE", directory.path().join("cert.pem"))
        .env(CHILD_URL, &url)
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
}

/// The other process of the test above.
#[tokio::test]
#[ignore = "run by the_systems_roots_decide"]
async fn child() {
    let Ok(url) = std::env::var(CHILD_URL) else {
        return;
    };
    let outcome = push(&url).await;
    assert_eq!(decide(&outcome, 1), Decision::Stored, "{outcome:?}");
}
