//! The lab's own certificate authority.

use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::error::{Error, Result};

/// Signs certificates (ECDSA P-256) for a lab's servers. Nobody trusts it but those who are given its root.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Authority")
    }
}

impl Authority {
    /// A new authority with this common name.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn new(name: &str) -> Result<Self> {
        let make = || -> Result<Self, rcgen::Error> {
            let key = KeyPair::generate()?;
            let mut parameters = CertificateParams::default();
            parameters.distinguished_name = common_name(name);
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let root = parameters.self_signed(&key)?.der().clone();
            Ok(Self { issuer: Issuer::new(parameters, key), root })
        };
        make().map_err(|error| failed(name, &error))
    }

    /// The authority that all labs of this process share, made when first asked for.
    ///
    /// # Errors
    /// As for [`Authority::new`].
    pub fn shared() -> Result<&'static Self> {
        const NAME: &str = "underlay lab root";
        static SHARED: OnceLock<Result<Authority>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(NAME)).as_ref().map_err(|error| failed(NAME, error))
    }

    /// Its root certificate, for those who are to trust it.
    pub fn root(&self) -> CertificateDer<'static> {
        self.root.clone()
    }

    /// A TLS server's configuration with a fresh certificate for these DNS names and IP addresses.
    ///
    /// # Errors
    /// A name is no DNS name, or the system has no randomness to give.
    pub fn server(&self, names: &[String]) -> Result<Arc<ServerConfig>> {
        let name = names.first().map_or("", String::as_str);
        let sign = || -> Result<_, rcgen::Error> {
            let key = KeyPair::generate()?;
            let mut parameters = CertificateParams::new(names)?;
            parameters.distinguished_name = common_name(name);
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            parameters.use_authority_key_identifier_extension = true;
            Ok((parameters.signed_by(&key, &self.issuer)?.der().clone(), key.serialize_der()))
        };
        let (certificate, key) = sign().map_err(|error| failed(name, &error))?;
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(name, &error))?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key).into())
            .map_err(|error| failed(name, &error))?;
        Ok(Arc::new(config))
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn failed(name: &str, error: &dyn std::error::Error) -> Error {
    Error::Internet { host: name.to_owned(), reason: format!("certificate: {error}"), source: None }
}
