//! https: the system's roots decide whom to trust.

use super::*;
use crate::export::client::PushClient;
use crate::export::retry::{Decision, Outcome, decide};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// Tells the child process of the test where to push to.
const CHILD_URL: &str = "THERMOGRAPH_TEST_HTTPS_URL";

/// A self-signed certificate for `localhost` and its key, or `None` where there is no openssl.
pub(super) fn certificate(directory: &Path) -> Option<()> {
    certificate_called("cert", directory)
}

fn certificate_called(name: &str, directory: &Path) -> Option<()> {
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
        .args(["-keyout", &format!("{name}-key.pem")])
        .args(["-out", &format!("{name}.pem")])
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

/// A TLS server that acknowledges one request on each connection, and its port. With `client` it takes those only who show that certificate.
pub(super) fn serve(directory: &Path, client: Option<&str>) -> u16 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = vec![CertificateDer::from_pem_file(directory.join("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(directory.join("cert-key.pem")).unwrap();
    let builder = ServerConfig::builder();
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            let certificate = CertificateDer::from_pem_file(directory.join(file)).unwrap();
            roots.add(certificate).unwrap();
            let verifier = WebPkiClientVerifier::builder(roots.into()).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
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
                // One that is not trusted may be gone.
                let _ = tls.write_all(answer);
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
    let url = format!("https://localhost:{}", serve(directory.path(), None));

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

/// With a `ca_file` that file decides, and not the system; a server that asks for a certificate is shown one.
#[tokio::test]
async fn own_authorities_and_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let Some(()) = certificate(directory.path()) else {
        return;
    };
    certificate_called("client", directory.path());
    let open = serve(directory.path(), None);
    let asking = serve(directory.path(), Some("client.pem"));
    let with = |port: u16, ca: &str, client: Option<(&str, &str)>| {
        let mut config = config(&format!("https://localhost:{port}"));
        config.tls.ca = Some(path(ca));
        config.tls.client = client.map(|(certificate, key)| (path(certificate), path(key)));
        config
    };
    let client = Some(("client.pem", "client-key.pem"));
    let outcome_of = async |config: PyroscopeConfig| {
        let client = PushClient::new(&config).unwrap();
        client.push(Bytes::from_static(b"x")).await
    };
    for (port, client) in [(open, None), (open, client), (asking, client)] {
        let outcome = outcome_of(with(port, "cert.pem", client)).await;
        assert_eq!(decide(&outcome, 1), Decision::Stored, "{outcome:?}");
    }
    let outcome = outcome_of(with(open, "client.pem", None)).await;
    assert!(matches!(outcome, Outcome::NotSent(_)), "{outcome:?}");
    let outcome = outcome_of(with(asking, "cert.pem", None)).await;
    assert_ne!(decide(&outcome, 1), Decision::Stored, "{outcome:?}");

    std::fs::write(path("nonsense.pem"), "nonsense").unwrap();
    for (ca, client, names) in [
        ("missing.pem", client, "missing.pem"),
        ("nonsense.pem", client, "nonsense.pem holds no certificate"),
        (
            "client-key.pem",
            client,
            "client-key.pem holds no certificate",
        ),
        (
            "cert.pem",
            Some(("missing.pem", "client-key.pem")),
            "missing.pem",
        ),
        (
            "cert.pem",
            Some(("client.pem", "nonsense.pem")),
            "nonsense.pem are no certificate and key",
        ),
        (
            "cert.pem",
            Some(("client.pem", "cert-key.pem")),
            "belong together",
        ),
    ] {
        let error = PushClient::new(&with(open, ca, client)).err().unwrap();
        let error = format!("{error:#}");
        assert!(error.contains(names), "{names}: {error}");
    }
}
