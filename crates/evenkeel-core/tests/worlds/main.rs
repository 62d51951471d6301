//! Seeded worlds of pools under a migration. `EVENKEEL_SEEDS=2000` plays more of each kind,
//! `EVENKEEL_SEED=42` plays one.
#![expect(clippy::panic, reason = "a test ends where it fails")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "drawn within small bounds"
)]

mod comparing;
mod drawn;
mod hanging;
