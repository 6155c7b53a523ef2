//! The certificates of the settings: files that only make sense together.

use super::Settings;
use crate::tls::CertFiles;
use crate::tls::upstream::Upstream;
use std::path::PathBuf;

/// Certificate and key of a listener, and the authority of its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerFiles {
    /// The certificate, as PEM.
    pub cert: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
    /// Who must have signed the certificates of clients; without it they need none.
    pub ca: Option<PathBuf>,
}

impl Settings {
    /// What is wrong with the certificates' settings among each other.
    pub(super) fn tls_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let peer = [&self.peer_tls_cert, &self.peer_tls_key, &self.peer_tls_ca];
        if peer.iter().any(|file| file.is_some()) && peer.iter().any(|file| file.is_none()) {
            problems.push(
                "TLS between replicas needs all of QUORATE_PEER_TLS_CERT, QUORATE_PEER_TLS_KEY and \
                 QUORATE_PEER_TLS_CA: each shows its own certificate and checks the other's"
                    .to_owned(),
            );
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            problems.push(
                "a certificate needs its key: set both QUORATE_TLS_CERT and QUORATE_TLS_KEY, or neither"
                    .to_owned(),
            );
        }
        if self.tls_ca.is_some() && self.tls_cert.is_none() {
            problems.push(
                "QUORATE_TLS_CA asks clients for certificates, which needs TLS: set QUORATE_TLS_CERT and QUORATE_TLS_KEY"
                    .to_owned(),
            );
        }
        if self.servers_cert.is_some() != self.servers_key.is_some() {
            problems.push(
                "a certificate needs its key: set both QUORATE_SERVERS_CERT and QUORATE_SERVERS_KEY, or neither"
                    .to_owned(),
            );
        }
        if self.servers_cert.is_some() && self.servers_ca.is_none() {
            problems.push(
                "QUORATE_SERVERS_CERT needs QUORATE_SERVERS_CA: a certificate is presented only to servers that are checked"
                    .to_owned(),
            );
        }
        let secured = self
            .servers
            .0
            .iter()
            .find(|url| url.starts_with("https://"));
        if let Some(url) = secured
            && self.servers_ca.is_none()
        {
            problems.push(format!(
                "servers names {url}, which needs QUORATE_SERVERS_CA (--servers-ca): the authority that must have signed \
                 its certificate"
            ));
        }
        problems
    }

    /// The files of TLS between replicas, if they are set.
    pub fn peer_tls(&self) -> Option<CertFiles> {
        Some(CertFiles {
            cert: self.peer_tls_cert.clone()?,
            key: self.peer_tls_key.clone()?,
            ca: self.peer_tls_ca.clone()?,
        })
    }

    /// The files of this listener's TLS, if they are set.
    pub fn listener_tls(&self) -> Option<ListenerFiles> {
        Some(ListenerFiles {
            cert: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            ca: self.tls_ca.clone(),
        })
    }

    /// The files for connections to servers, if they are set.
    pub fn upstream(&self) -> Option<Upstream> {
        Some(Upstream {
            ca: self.servers_ca.clone()?,
            own: self.servers_cert.clone().zip(self.servers_key.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, FlagValues, Pattern};
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::load_from(
            Pattern::WorkQueue,
            &FlagValues::none(),
            &Environment::of(variables.iter().copied()),
        )
        .map_err(|errors| errors.to_string())
    }

    /// Half of a pair is refused with what is missing, never taken for "no TLS".
    #[test]
    fn half_of_a_pair_is_refused() {
        let cases: [(&[(&str, &str)], &str); 6] = [
            (&[("QUORATE_PEER_TLS_CERT", "/c")], "QUORATE_PEER_TLS_KEY"),
            (
                &[
                    ("QUORATE_PEER_TLS_CERT", "/c"),
                    ("QUORATE_PEER_TLS_KEY", "/k"),
                ],
                "QUORATE_PEER_TLS_CA",
            ),
            (&[("QUORATE_TLS_KEY", "/k")], "QUORATE_TLS_CERT"),
            (&[("QUORATE_TLS_CA", "/a")], "QUORATE_TLS_CERT"),
            (
                &[
                    ("QUORATE_SERVERS_CERT", "/c"),
                    ("QUORATE_SERVERS_KEY", "/k"),
                ],
                "QUORATE_SERVERS_CA",
            ),
            (&[("QUORATE_SERVERS", "https://a:1")], "QUORATE_SERVERS_CA"),
        ];
        for (variables, missing) in cases {
            let refusal = load(variables).unwrap_err();
            assert!(refusal.contains(missing), "{variables:?}: {refusal}");
        }
        let settings = load(&[
            ("QUORATE_PEER_TLS_CERT", "/c"),
            ("QUORATE_PEER_TLS_KEY", "/k"),
            ("QUORATE_PEER_TLS_CA", "/a"),
            ("QUORATE_SERVERS", "https://a:1"),
            ("QUORATE_SERVERS_CA", "/s"),
        ])
        .unwrap();
        assert_eq!(settings.peer_tls().unwrap().key, PathBuf::from("/k"));
        assert_eq!(settings.listener_tls(), None);
        assert_eq!(settings.upstream().unwrap().own, None);
    }
}
