//! TLS: certificate and key from files, taken anew when the files change, without touching open connections.
//!
//! A pair of files that does not read or does not fit together changes nothing: the server goes on with the last good one, says so in
//! the log and counts it. Not here: which connections there are (`connections`).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, SupportedProtocolVersion, version};
use xxhash_rust::xxh3::xxh3_128;

use crate::config::{TlsConfig, TlsVersion};
use crate::metrics::{Families, Kind};

/// Protocols offered, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What is wrong with certificate or key. The reader is the operator, so paths are named.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One file is named and the other is not.
    #[error("tls.cert and tls.key belong together, and only one of them is set")]
    Incomplete,
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not PEM, or holds nothing of what is wanted.
    #[error("{path} holds no {wanted} in PEM", path = path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Certificate or private key.
        wanted: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// Certificate and key do not work together.
    #[error("the certificate in {path} cannot be used with its key", path = path.display())]
    Refused {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// TLS as configured.
#[derive(Debug)]
pub struct Tls {
    config: TlsConfig,
    current: RwLock<Arc<ServerConfig>>,
    /// Of the bytes that were tried last, good or bad.
    tried: Mutex<u128>,
    reloads: AtomicU64,
    failures: AtomicU64,
}

/// The bytes of both files.
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let read = |path: &str| {
            std::fs::read(path).map_err(|source| TlsError::Read { path: PathBuf::from(path), source })
        };
        Ok(Files { cert: read(&config.cert)?, key: read(&config.key)? })
    }

    fn fingerprint(&self) -> u128 {
        xxh3_128(&self.cert) ^ xxh3_128(&self.key).rotate_left(1)
    }

    fn server(&self, config: &TlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
        let pem = |path: &str, wanted| {
            let path = Path::new(path).to_owned();
            move |source| TlsError::Pem { path, wanted, source }
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(pem(&config.cert, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(pem(&config.key, "private key"))?;
        let refused = |source| TlsError::Refused { path: PathBuf::from(&config.cert), source };
        let versions: &[&SupportedProtocolVersion] = match config.min_version {
            TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
            TlsVersion::V1_3 => &[&version::TLS13],
        };
        let mut server =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(versions)
                .map_err(refused)?
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .map_err(refused)?;
        server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(server))
    }
}

impl Tls {
    /// Reads the files; none where TLS is not configured.
    pub fn open(config: &TlsConfig) -> Result<Option<Arc<Self>>, TlsError> {
        match (config.cert.is_empty(), config.key.is_empty()) {
            (true, true) => return Ok(None),
            (false, false) => {}
            _ => return Err(TlsError::Incomplete),
        }
        let files = Files::read(config)?;
        Ok(Some(Arc::new(Tls {
            current: RwLock::new(files.server(config)?),
            tried: Mutex::new(files.fingerprint()),
            config: config.clone(),
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })))
    }

    /// For one handshake, with the certificate of this moment.
    pub fn acceptor(&self) -> TlsAcceptor {
        // A panic while it was replaced left the old one or the new one, both whole.
        TlsAcceptor::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Looks at the files every so often, and at once on SIGHUP.
    pub async fn watch(self: Arc<Self>) {
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => {
                tracing::warn!(%error, "cannot listen for SIGHUP; certificates are not reloaded");
                return;
            }
        };
        let interval = Duration::from_millis(self.config.check_ms.max(1));
        loop {
            let is_asked = tokio::select! {
                _ = hangups.recv() => true,
                () = tokio::time::sleep(interval) => false,
            };
            let tls = Arc::clone(&self);
            // An error is a panic, which its hook has logged.
            let _ = tokio::task::spawn_blocking(move || tls.look(is_asked)).await;
        }
    }

    /// Takes the files where they have changed since the last look, or where an operator asks for it.
    fn look(&self, is_asked: bool) {
        let files = match Files::read(&self.config) {
            Ok(files) => files,
            Err(error) => return self.failed(&error, 0, is_asked),
        };
        let fingerprint = files.fingerprint();
        if !is_asked && *self.tried() == fingerprint {
            return;
        }
        match files.server(&self.config) {
            Ok(server) => {
                *self.tried() = fingerprint;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = server;
                self.reloads.fetch_add(1, Relaxed);
                tracing::info!(cert = self.config.cert, "the certificate was reloaded");
            }
            Err(error) => self.failed(&error, fingerprint, is_asked),
        }
    }

    /// Says once for every state of the files that it cannot be used.
    fn failed(&self, error: &TlsError, fingerprint: u128, is_asked: bool) {
        let before = std::mem::replace(&mut *self.tried(), fingerprint);
        if before != fingerprint || is_asked {
            self.failures.fetch_add(1, Relaxed);
            let cause = crate::problem::chain(error);
            tracing::error!(cause, "the new certificate cannot be used; the old one stays");
        }
    }

    fn tried(&self) -> std::sync::MutexGuard<'_, u128> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds how often certificates were taken anew, or could not be.
    pub fn collect(&self, out: &mut Families) {
        let reloads = out.family(
            "tidewater_tls_reloads_total",
            Kind::Counter,
            "Changes of the certificate's files, by outcome: failed means that the old certificate is still in use.",
        );
        reloads.add(&[("outcome", "ok")], self.reloads.load(Relaxed));
        reloads.add(&[("outcome", "failed")], self.failures.load(Relaxed));
    }
}
