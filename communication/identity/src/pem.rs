//! Certificates as text (RFC 7468), as every other program shows them.

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// A certificate as PEM.
pub(crate) fn certificate(certificate: &CertificateDer<'_>) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", certificate.as_ref()))
}

/// Every certificate of a text, in its order; `None` where one is not readable.
pub(crate) fn certificates(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().ok()
}
