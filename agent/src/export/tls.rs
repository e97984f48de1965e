//! Certificates for https: whom this host trusts, and what it shows of itself.

use super::config::TlsFiles;
use anyhow::{Context, Result, bail};
use reqwest::{Certificate, ClientBuilder, Identity};
use std::fs;
use std::path::Path;

/// Adds what `files` say to a client.
///
/// # Errors
///
/// One sentence that names the file.
pub(super) fn configure(builder: ClientBuilder, files: &TlsFiles) -> Result<ClientBuilder> {
    let mut builder = builder;
    if let Some(path) = &files.ca {
        builder = builder.tls_certs_only(authorities(path)?);
    }
    if let Some((certificate, key)) = &files.client {
        builder = builder.identity(identity(certificate, key)?);
    }
    Ok(builder)
}

fn authorities(path: &Path) -> Result<Vec<Certificate>> {
    let pem = read(path, "ca_file")?;
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        bail!(
            "ca_file {} holds no certificate: give a PEM file, which has a line -----BEGIN CERTIFICATE-----",
            path.display()
        );
    }
    Ok(certificates)
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity> {
    let mut pem = read(certificate, "client_cert_file")?;
    pem.push(b'\n');
    pem.extend(read(key, "client_key_file")?);
    Identity::from_pem(&pem).with_context(|| {
        format!(
            "client_cert_file {} and client_key_file {} are no certificate and key: give PEM files, the key without a passphrase",
            certificate.display(),
            key.display()
        )
    })
}

fn read(path: &Path, setting: &str) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| {
        format!(
            "cannot read {setting} {}: give a file that the agent may read",
            path.display()
        )
    })
}
