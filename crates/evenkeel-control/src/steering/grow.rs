//! Autoscalers add and remove backends.

use super::{Edit, EditError, NewBackend, Steering};
use crate::autoscalers::Grows;
use evenkeel_api::Source;
use std::time::Duration;

impl Grows for Steering {
    fn add(&self, pool: &str, name: &str, address: &str) -> Result<(), String> {
        let backend = NewBackend {
            name: Some(name.to_owned()),
            address: address.to_owned(),
            weight: None,
            admin: None,
        };
        match self.adjust(&[Edit::AddBackend { pool: pool.to_owned(), backend }]) {
            Ok(_) | Err(EditError::Exists(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn remove(&self, pool: &str, name: &str, drain: Duration) -> Result<(), String> {
        let (pool, backend) = (pool.to_owned(), name.to_owned());
        match self.adjust(&[Edit::RemoveBackend { pool, backend, drain }]) {
            Ok(_) | Err(EditError::NotFound(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn grown(&self, pool: &str) -> Vec<String> {
        self.sources().added_by(pool, Source::Autoscale)
    }
}
