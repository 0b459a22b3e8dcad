//! Images that are kept beside a piece: which wait, what came of each.
//!
//! No rule of the network here. The surprise: an outcome is written by the number of tries it was begun with, so that an
//! answer that comes late, after the image was tried again, changes nothing.

use super::rows::Rows;
use super::{WriteError, Written};
use crate::task::image::ImageState;
use crate::task::{ContentId, Timestamp};

/// An image to keep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewImage {
    /// Of which piece.
    pub content_id: ContentId,
    /// Which of its images, from 0.
    pub position: u32,
    /// Where it is.
    pub url: String,
    /// Where it stands.
    pub state: ImageState,
    /// Why it is not tried.
    pub error: Option<String>,
    /// When it is noted.
    pub now: Timestamp,
}

/// An image that is, or is to be, kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptImage {
    /// Its number.
    pub id: i64,
    /// Of which piece.
    pub content_id: ContentId,
    /// Which of its images, from 0.
    pub position: u32,
    /// Where it was.
    pub url: String,
    /// Where it stands, with what is true only there.
    pub state: ImageState,
    /// How often it was tried.
    pub tries: u32,
    /// What last went wrong.
    pub error: Option<String>,
}

/// What came of an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageWrite {
    /// Which.
    pub id: i64,
    /// How often it had been tried when this try began.
    pub tries_before: u32,
    /// Where it stands now.
    pub state: ImageState,
    /// What went wrong.
    pub error: Option<String>,
    /// When.
    pub now: Timestamp,
}

pub(super) fn execute(rows: &mut dyn Rows, write: &ImageWrite) -> Result<Written, WriteError> {
    let Some(mut image) = rows.image(write.id)? else { return Ok(Written::Stored) };
    if image.tries != write.tries_before || !matches!(image.state, ImageState::Waiting { .. }) {
        return Ok(Written::Stored);
    }
    image.tries = image.tries.saturating_add(1);
    image.state = write.state.clone();
    image.error = write.error.clone();
    rows.update_image(&image, write.now)?;
    Ok(Written::Stored)
}
