//! Rows of the table `images`. What is true only of one state is null in the others, and the table holds that.

use diesel::prelude::*;

use super::super::schema::images;
use super::{narrowed, unreadable};
use crate::store::DbError;
use crate::store::write::{KeptImage, NewImage};
use crate::task::image::ImageState;
use crate::task::{ContentId, Timestamp};

/// An image.
#[derive(Queryable, Selectable)]
#[diesel(table_name = images)]
pub struct ImageRow {
    id: i64,
    content_id: i64,
    position: i64,
    url: String,
    state: String,
    tries: i64,
    wake_at: Option<i64>,
    media_type: Option<String>,
    file: Option<String>,
    bytes: Option<i64>,
    error: Option<String>,
}

impl ImageRow {
    /// As everybody else knows it.
    pub fn into_record(self) -> Result<KeptImage, DbError> {
        let row = format_args!("image {}", self.id).to_string();
        let state = match (self.state.as_str(), self.wake_at, self.file, self.media_type, self.bytes) {
            ("waiting", Some(at), ..) => ImageState::Waiting { wake_at: Timestamp(at) },
            ("kept", _, Some(file), Some(media_type), Some(bytes)) => {
                ImageState::Kept { file, media_type, bytes: narrowed(&row, "bytes", bytes)? }
            }
            ("given_up", ..) => ImageState::GivenUp,
            (other, ..) => return Err(unreadable(&row, "state", format_args!("{other:?} does not fit the others"))),
        };
        Ok(KeptImage {
            id: self.id,
            content_id: ContentId(self.content_id),
            position: narrowed(&row, "position", self.position)?,
            url: self.url,
            state,
            tries: narrowed(&row, "tries", self.tries)?,
            error: self.error,
        })
    }
}

/// The columns that say where an image stands.
struct StateColumns<'a> {
    state: &'static str,
    wake_at: Option<i64>,
    media_type: Option<&'a str>,
    file: Option<&'a str>,
    bytes: Option<i64>,
}

impl<'a> StateColumns<'a> {
    fn of(state: &'a ImageState) -> Result<Self, DbError> {
        let name = state.as_str();
        let none = Self { state: name, wake_at: None, media_type: None, file: None, bytes: None };
        Ok(match state {
            ImageState::Waiting { wake_at } => Self { wake_at: Some(wake_at.0), ..none },
            ImageState::Kept { file, media_type, bytes } => {
                let bytes = i64::try_from(*bytes).map_err(|error| unreadable("a new row", "bytes", error))?;
                Self { media_type: Some(media_type), file: Some(file), bytes: Some(bytes), ..none }
            }
            ImageState::GivenUp => none,
        })
    }
}

/// An image to insert.
#[derive(Insertable)]
#[diesel(table_name = images, treat_none_as_default_value = false)]
pub struct NewImageRow<'a> {
    content_id: i64,
    position: i64,
    url: &'a str,
    state: &'static str,
    tries: i64,
    wake_at: Option<i64>,
    media_type: Option<&'a str>,
    file: Option<&'a str>,
    bytes: Option<i64>,
    error: Option<&'a str>,
    created_at: i64,
    updated_at: i64,
}

impl<'a> NewImageRow<'a> {
    /// The row of `image`.
    pub fn of(image: &'a NewImage) -> Result<Self, DbError> {
        let StateColumns { state, wake_at, media_type, file, bytes } = StateColumns::of(&image.state)?;
        Ok(Self {
            content_id: image.content_id.0,
            position: image.position.into(),
            url: &image.url,
            state,
            tries: 0,
            wake_at,
            media_type,
            file,
            bytes,
            error: image.error.as_deref(),
            created_at: image.now.0,
            updated_at: image.now.0,
        })
    }
}

/// What comes of an image.
#[derive(AsChangeset)]
#[diesel(table_name = images, treat_none_as_null = true)]
pub struct ImageChanges<'a> {
    state: &'static str,
    tries: i64,
    wake_at: Option<i64>,
    media_type: Option<&'a str>,
    file: Option<&'a str>,
    bytes: Option<i64>,
    error: Option<&'a str>,
    updated_at: i64,
}

impl<'a> ImageChanges<'a> {
    /// Of `image` as it shall be.
    pub fn of(image: &'a KeptImage, now: Timestamp) -> Result<Self, DbError> {
        let StateColumns { state, wake_at, media_type, file, bytes } = StateColumns::of(&image.state)?;
        let (tries, error) = (image.tries.into(), image.error.as_deref());
        Ok(Self { state, tries, wake_at, media_type, file, bytes, error, updated_at: now.0 })
    }
}
