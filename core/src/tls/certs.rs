//! An authority for development, tests and small installations: it signs the certificates of one cluster.
//!
//! Whoever runs an authority already (cert-manager, Vault, step-ca) takes that one; what the certificates must hold
//! stands in docs/security.md. Keys are ECDSA P-256.

use super::{PeerName, TlsError};
use crate::types::{Name, NodeId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::net::IpAddr;
use time::{Duration, OffsetDateTime};

/// How long an authority lives.
const AUTHORITY_DAYS: u32 = 3650;

/// Clocks of hosts may differ by this much when a certificate is new.
const BACKDATED: Duration = Duration::HOUR;

/// A certificate and its private key, both PEM.
pub struct Issued {
    /// The certificate.
    pub cert: String,
    /// The private key.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

/// What signs the certificates of one cluster.
pub struct Authority {
    cluster: Name,
    cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one, of ten years.
    ///
    /// # Errors
    /// No randomness.
    pub fn create(cluster: &Name) -> Result<Self, TlsError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = authority_params(cluster)?;
        dated(&mut params, AUTHORITY_DAYS);
        let cert = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self {
            cluster: cluster.clone(),
            cert,
            issuer: Issuer::new(params, key),
        })
    }

    /// One that [`Authority::create`] made, from its files' texts.
    ///
    /// # Errors
    /// It is of another cluster, or the key is not the certificate's.
    pub fn load(cluster: &Name, cert: &str, key: &str) -> Result<Self, TlsError> {
        let key = KeyPair::from_pem(key).map_err(failed)?;
        let authority = Self {
            cluster: cluster.clone(),
            cert: cert.to_owned(),
            issuer: Issuer::new(authority_params(cluster)?, key),
        };
        let probe = authority.client("probe", 1)?;
        authority.verify(&probe).map_err(|error| {
            TlsError::new(format!(
                "the authority is not one of the cluster {cluster}, or its key is another's: {error}; name the cluster \
                 it was made for, or use an empty directory"
            ))
        })?;
        Ok(authority)
    }

    /// The authority's certificate and key.
    pub fn issued(&self) -> Issued {
        Issued {
            cert: self.cert.clone(),
            key: self.issuer.key().serialize_pem(),
        }
    }

    /// The certificate of a replica, for both ends of a connection.
    ///
    /// # Errors
    /// No randomness.
    pub fn peer(&self, node: NodeId, days: u32) -> Result<Issued, TlsError> {
        self.peer_of(&self.cluster, node, days)
    }

    /// The certificate of a replica of another cluster, for authorities that sign for several.
    ///
    /// # Errors
    /// No randomness.
    pub fn peer_of(&self, cluster: &Name, node: NodeId, days: u32) -> Result<Issued, TlsError> {
        let name = PeerName {
            cluster: cluster.clone(),
            node,
        };
        let uri = SanType::URI(name.to_string().try_into().map_err(failed)?);
        self.sign(
            &format!("node {node}"),
            vec![uri],
            &[
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            days,
        )
    }

    /// The certificate of an API listener that is reached by these names and addresses.
    ///
    /// # Errors
    /// A name that no certificate can hold.
    pub fn server(&self, hosts: &[String], days: u32) -> Result<Issued, TlsError> {
        let names = hosts
            .iter()
            .map(|host| match host.parse::<IpAddr>() {
                Ok(address) => Ok(SanType::IpAddress(address)),
                Err(_) => Ok(SanType::DnsName(host.as_str().try_into().map_err(
                    |error| TlsError::new(format!("{host:?} is no host name: {error}")),
                )?)),
            })
            .collect::<Result<_, TlsError>>()?;
        self.sign("api", names, &[ExtendedKeyUsagePurpose::ServerAuth], days)
    }

    /// The certificate of a client, known to servers as `cert:quorate://CLUSTER/client/NAME`.
    ///
    /// # Errors
    /// A name that no certificate can hold.
    pub fn client(&self, name: &str, days: u32) -> Result<Issued, TlsError> {
        let uri = format!("quorate://{}/client/{name}", self.cluster);
        let uri = SanType::URI(uri.try_into().map_err(failed)?);
        self.sign(
            name,
            vec![uri],
            &[ExtendedKeyUsagePurpose::ClientAuth],
            days,
        )
    }

    fn sign(
        &self,
        common_name: &str,
        names: Vec<SanType>,
        uses: &[ExtendedKeyUsagePurpose],
        days: u32,
    ) -> Result<Issued, TlsError> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.distinguished_name = distinguished(&format!("{} {common_name}", self.cluster));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = uses.to_vec();
        params.use_authority_key_identifier_extension = true;
        dated(&mut params, days);
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Issued {
            cert: cert.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Whether a client certificate is of this authority.
    fn verify(&self, issued: &Issued) -> Result<(), TlsError> {
        let root = CertificateDer::from_pem_slice(self.cert.as_bytes()).map_err(failed)?;
        let anchor = webpki::anchor_from_trusted_cert(&root).map_err(failed)?;
        let leaf = CertificateDer::from_pem_slice(issued.cert.as_bytes()).map_err(failed)?;
        let leaf = webpki::EndEntityCert::try_from(&leaf).map_err(failed)?;
        leaf.verify_for_usage(
            super::provider().signature_verification_algorithms.all,
            &[anchor],
            &[],
            UnixTime::now(),
            webpki::KeyUsage::client_auth(),
            None,
            None,
        )
        .map(|_| ())
        .map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> TlsError {
    TlsError::new(error.to_string())
}

/// The same for a cluster every time, so that an authority can be loaded without reading its certificate.
fn authority_params(cluster: &Name) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name = distinguished(&format!("{cluster} authority"));
    // It signs end certificates alone.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn distinguished(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Quorate");
    name.push(DnType::CommonName, common_name);
    name
}

fn dated(params: &mut CertificateParams, days: u32) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::days(i64::from(days));
}
