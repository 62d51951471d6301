//! What a snapshot needs that nobody must guess: cookie keys and seeds, from files and the system.

use crate::tls::{Material, TlsFaults};
use evenkeel_core::affinity::{CookieKeys, KeyFault};
use evenkeel_core::plan::{AffinityPlan, CookiePlan, Plan};
use evenkeel_core::snapshot::{Sealed, Secrets, Snapshot};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// Why cookie keys could not be had.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file could not be read.
    #[error("cannot read the cookie keys in {}: {source}", path.display())]
    Unreadable {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds no usable keys.
    #[error("cannot use the cookie keys in {}: {fault}", path.display())]
    Unusable {
        /// As configured.
        path: PathBuf,
        /// What is wrong.
        fault: KeyFault,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
    /// A certificate, key or authority cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFaults),
}

/// The keys of every file that a plan names, one key for those who name none, and a seed: kept for
/// the life of the process, so that sessions outlive reloads.
pub(crate) struct Vault {
    /// With the text that they were read from: the same text is the same keys.
    by_file: HashMap<PathBuf, (String, Arc<CookieKeys>)>,
    made: Arc<CookieKeys>,
    /// What `made` and `seed` are of.
    secrets: [u8; SECRET_BYTES],
    seed: [u64; 2],
    material: Arc<Material>,
}

/// Bytes of a key and a seed.
pub const SECRET_BYTES: usize = KEY_BYTES + 16;
const KEY_BYTES: usize = 32;

/// The snapshot of a checked plan, with its secrets.
///
/// # Errors
/// A file of cookie keys cannot be read or used, or there are no random numbers.
pub fn compile(plan: Plan) -> Result<Snapshot, SecretError> {
    let mut vault = Vault::new()?;
    vault.read_files(&plan)?;
    Ok(Snapshot::new(plan, &mut vault))
}

impl Vault {
    /// With a new key and seed.
    pub(crate) fn new() -> Result<Vault, SecretError> {
        Ok(Vault::with(random()?))
    }

    /// With the key and seed of a process before this one.
    pub(crate) fn with(secrets: [u8; SECRET_BYTES]) -> Vault {
        let (key, rest) = secrets.split_at(KEY_BYTES);
        let (mut made, mut seed) = ([0; KEY_BYTES], [[0; 8]; 2]);
        made.copy_from_slice(key);
        seed.iter_mut().zip(rest.chunks(8)).for_each(|(to, from)| to.copy_from_slice(from));
        Vault {
            by_file: HashMap::new(),
            made: Arc::new(CookieKeys::random(made)),
            secrets,
            seed: seed.map(u64::from_le_bytes),
            material: Arc::default(),
        }
    }

    /// What `with` makes the same key and seed of.
    pub(crate) fn secrets(&self) -> [u8; SECRET_BYTES] {
        self.secrets
    }

    /// Reads the files that a plan names; true if any of them differs from what was known. On error
    /// what was known stays.
    pub(crate) fn read_files(&mut self, plan: &Plan) -> Result<bool, SecretError> {
        let mut by_file = HashMap::new();
        for pool in &plan.pools {
            if let AffinityPlan::Cookie(CookiePlan { secret_file: Some(path), .. }) = &pool.affinity
                && !by_file.contains_key(path)
            {
                by_file.insert(path.clone(), self.read_file(path)?);
            }
        }
        let keys = |of: &HashMap<PathBuf, (String, Arc<CookieKeys>)>, path: &PathBuf| {
            of.get(path).map(|(_, keys)| Arc::as_ptr(keys))
        };
        let material = Material::read(plan, Some(&self.material), unix_seconds())?;
        let changed = by_file.keys().any(|path| keys(&by_file, path) != keys(&self.by_file, path))
            || !material.is(&self.material);
        self.by_file = by_file;
        self.material = Arc::new(material);
        Ok(changed)
    }

    fn read_file(&self, path: &Path) -> Result<(String, Arc<CookieKeys>), SecretError> {
        let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        if let Some((known, keys)) = self.by_file.get(path).filter(|(known, _)| *known == text) {
            return Ok((known.clone(), Arc::clone(keys)));
        }
        let unusable = |fault| SecretError::Unusable { path: path.to_owned(), fault };
        let keys = CookieKeys::parse(&text).map_err(unusable)?;
        Ok((text, Arc::new(keys)))
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn random<const N: usize>() -> Result<[u8; N], SecretError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SecretError::NoRandom)?;
    Ok(bytes)
}

impl Secrets for Vault {
    fn cookie_keys(&mut self, plan: &CookiePlan) -> Arc<CookieKeys> {
        let named = plan.secret_file.as_ref().and_then(|path| self.by_file.get(path));
        Arc::clone(named.map_or(&self.made, |(_, keys)| keys))
    }

    fn seed(&mut self) -> [u64; 2] {
        self.seed
    }

    fn sealed(&mut self) -> Sealed {
        Arc::clone(&self.material) as Sealed
    }
}
