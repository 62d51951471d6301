//! What a snapshot needs that nobody must guess: cookie keys and seeds, from files and the system.

use evenkeel_core::affinity::{CookieKeys, KeyFault};
use evenkeel_core::plan::{AffinityPlan, CookiePlan, Plan};
use evenkeel_core::snapshot::{Secrets, Snapshot};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
}

/// The keys of every file that a plan names, and one key for those who name none.
struct FileSecrets {
    by_file: HashMap<PathBuf, Arc<CookieKeys>>,
    made: Arc<CookieKeys>,
    seed: [u64; 2],
}

/// The snapshot of a checked plan, with its secrets.
///
/// # Errors
/// A file of cookie keys cannot be read or used, or there are no random numbers.
pub fn compile(plan: Plan) -> Result<Snapshot, SecretError> {
    let mut secrets = read(&plan)?;
    Ok(Snapshot::new(plan, &mut secrets))
}

fn read(plan: &Plan) -> Result<FileSecrets, SecretError> {
    let mut by_file = HashMap::new();
    for pool in &plan.pools {
        if let AffinityPlan::Cookie(CookiePlan { secret_file: Some(path), .. }) = &pool.affinity
            && !by_file.contains_key(path)
        {
            by_file.insert(path.clone(), Arc::new(read_keys(path)?));
        }
    }
    let made: [u8; 32] = random()?;
    let seed = [u64::from_le_bytes(random()?), u64::from_le_bytes(random()?)];
    Ok(FileSecrets { by_file, made: Arc::new(CookieKeys::random(made)), seed })
}

fn read_keys(path: &Path) -> Result<CookieKeys, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let unusable = |fault| SecretError::Unusable { path: path.to_owned(), fault };
    CookieKeys::parse(&text).map_err(unusable)
}

fn random<const N: usize>() -> Result<[u8; N], SecretError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SecretError::NoRandom)?;
    Ok(bytes)
}

impl Secrets for FileSecrets {
    fn cookie_keys(&mut self, plan: &CookiePlan) -> Arc<CookieKeys> {
        let named = plan.secret_file.as_ref().and_then(|path| self.by_file.get(path));
        Arc::clone(named.unwrap_or(&self.made))
    }

    fn seed(&mut self) -> [u64; 2] {
        self.seed
    }
}
