//! Accounts, versions and images in memory.

use super::Tables;
use crate::store::DbError;
use crate::store::write::{Account, KeptImage, NewImage};
use crate::task::content::Version;
use crate::task::image::ImageState;
use crate::task::{AccountId, ContentId, TaskId, Timestamp};

impl Tables {
    pub(super) fn replace_account(&mut self, account: &Account) -> Result<(), DbError> {
        let row = self.accounts.iter_mut().find(|row| row.id == account.id);
        let row = row.ok_or_else(|| DbError::Refused("an account that is not there was to be updated".into()))?;
        *row = account.clone();
        Ok(())
    }

    pub(super) fn count_unfinished_of(&self, account: AccountId, at_most: u32) -> u32 {
        let is_meant = |task: &&crate::task::Task| !task.state.is_final() && task.account_id == account;
        let most = usize::try_from(at_most).unwrap_or(usize::MAX);
        u32::try_from(self.tasks.values().filter(is_meant).take(most).count()).unwrap_or(u32::MAX)
    }

    pub(super) fn versions(&self, task_id: &TaskId) -> Vec<Version> {
        let of_task = self.contents.iter().filter(|content| content.record.task_id == *task_id);
        let mut versions: Vec<Version> = of_task
            .map(|content| Version {
                id: content.id,
                version: content.record.version,
                review_status: content.record.review_status,
                publish_status: content.record.publish_status,
                created_at: content.record.created_at,
            })
            .collect();
        versions.sort_by_key(|version| version.version);
        versions
    }

    pub(super) fn add_image(&mut self, image: &NewImage) {
        let id = super::count_up(self.images.len());
        let NewImage { content_id, position, url, state, error, .. } = image.clone();
        self.images.push(KeptImage { id, content_id, position, url, state, tries: 0, error });
    }

    pub(super) fn images_of_content(&self, content: ContentId) -> Vec<KeptImage> {
        let mut found: Vec<_> = self.images.iter().filter(|image| image.content_id == content).cloned().collect();
        found.sort_by_key(|image| image.position);
        found
    }

    pub(super) fn replace_image(&mut self, image: &KeptImage) -> Result<(), DbError> {
        let row = self.images.iter_mut().find(|row| row.id == image.id);
        let row = row.ok_or_else(|| DbError::Refused("an image that is not there was to be updated".into()))?;
        *row = image.clone();
        Ok(())
    }

    pub(super) fn shift_images(&mut self, by_ms: i64) {
        for image in &mut self.images {
            if let ImageState::Waiting { wake_at } = &mut image.state {
                *wake_at = Timestamp(wake_at.0.saturating_add(by_ms));
            }
        }
    }

    /// Waiting images, the next one first.
    pub(super) fn waiting_images(&self) -> Vec<(Timestamp, KeptImage)> {
        let waiting = self.images.iter().filter_map(|image| match image.state {
            ImageState::Waiting { wake_at } => Some((wake_at, image.clone())),
            ImageState::Kept { .. } | ImageState::GivenUp => None,
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|(at, image)| (*at, image.id));
        waiting
    }
}
