//! Calls about migrations and autoscalers.

use super::call::Call;
use super::{Client, ClientError, ConfigSyntax};
use crate::autoscaler::{Autoscaler, AutoscalerList};
use crate::endpoint::traffic;
use crate::migration::{Approval, Migration, MigrationList, MigrationOutline};

#[expect(clippy::missing_errors_doc, reason = "they are the same for all of them")]
impl Client {
    /// Traffic on its way from one pool to another.
    pub async fn migrations(&self) -> Result<MigrationList, ClientError> {
        self.send(Call::to(&traffic::MIGRATIONS)).await?.json()
    }

    /// Starts a migration with the text of its plan.
    pub async fn start_migration(
        &self,
        text: String,
        syntax: ConfigSyntax,
    ) -> Result<Migration, ClientError> {
        let call = Call::to(&traffic::START_MIGRATION).body(syntax.media_type(), text);
        self.send(call).await?.json()
    }

    /// What a plan would take; nothing starts.
    pub async fn outline_migration(
        &self,
        text: String,
        syntax: ConfigSyntax,
    ) -> Result<MigrationOutline, ClientError> {
        let call = Call::to(&traffic::START_MIGRATION).query("dry_run", Some("true".to_owned()));
        self.send(call.body(syntax.media_type(), text)).await?.json()
    }

    /// One migration with all of its checks.
    pub async fn migration(&self, id: &str) -> Result<Migration, ClientError> {
        self.send(Call::to(&traffic::MIGRATION).at(&[id])).await?.json()
    }

    /// Lets a migration stand still where it is.
    pub async fn pause_migration(&self, id: &str) -> Result<Migration, ClientError> {
        self.send(Call::to(&traffic::PAUSE_MIGRATION).at(&[id])).await?.json()
    }

    /// Lets a migration go on.
    pub async fn resume_migration(&self, id: &str) -> Result<Migration, ClientError> {
        self.send(Call::to(&traffic::RESUME_MIGRATION).at(&[id])).await?.json()
    }

    /// Agrees to the end of a stage that waits for it; without a name, that of the token.
    pub async fn approve_migration(
        &self,
        id: &str,
        by: Option<String>,
    ) -> Result<Migration, ClientError> {
        let call = Call::to(&traffic::APPROVE_MIGRATION).at(&[id]).json(&Approval { by });
        self.send(call).await?.json()
    }

    /// Ends a migration: the old pool gets everything again.
    pub async fn abort_migration(&self, id: &str) -> Result<Migration, ClientError> {
        self.send(Call::to(&traffic::ABORT_MIGRATION).at(&[id])).await?.json()
    }

    /// What decides how many backends pools have.
    pub async fn autoscalers(&self) -> Result<AutoscalerList, ClientError> {
        self.send(Call::to(&traffic::AUTOSCALERS)).await?.json()
    }

    /// Leaves the number of backends of a pool as it is.
    pub async fn pause_autoscaler(&self, pool: &str) -> Result<Autoscaler, ClientError> {
        self.send(Call::to(&traffic::PAUSE_AUTOSCALER).at(&[pool])).await?.json()
    }

    /// Decides again how many backends a pool should have.
    pub async fn resume_autoscaler(&self, pool: &str) -> Result<Autoscaler, ClientError> {
        self.send(Call::to(&traffic::RESUME_AUTOSCALER).at(&[pool])).await?.json()
    }
}
