//! Where an image that is to be kept stands, and when it is tried again.
//!
//! Pure. An address that expires is no reason to try for ever: after [`TRIES`] tries it is given up and said.

use std::time::Duration;

use super::time::Timestamp;

/// How often an image is tried.
pub const TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// Where an image stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImageState {
    /// It is tried at this time.
    Waiting {
        /// When.
        wake_at: Timestamp,
    },
    /// It is a file of ours.
    Kept {
        /// Its name, made of its hash.
        file: String,
        /// `image/png` and its like, by its bytes.
        media_type: String,
        /// Its size.
        bytes: u64,
    },
    /// It is not tried any more.
    GivenUp,
}

impl ImageState {
    /// Its name in the database and on the wire.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Kept { .. } => "kept",
            Self::GivenUp => "given_up",
        }
    }
}

/// Why an image could not be fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImageFault {
    /// Another time may be better.
    Passing(String),
    /// It would be the same again.
    Final(String),
}

/// What becomes of an image after a try that failed; `tries` counts the earlier ones.
pub fn after_fault(tries: u32, fault: &ImageFault, now: Timestamp) -> ImageState {
    match fault {
        ImageFault::Passing(_) if tries + 1 < TRIES => {
            // 30 s, 2 min, 8 min, 32 min, two hours.
            let wait = FIRST_WAIT * 4_u32.saturating_pow(tries.min(8));
            ImageState::Waiting { wake_at: now.plus(wait) }
        }
        ImageFault::Passing(_) | ImageFault::Final(_) => ImageState::GivenUp,
    }
}

/// The type of an image by its bytes: media type and ending. Others than these are not kept: an SVG is a program.
pub fn type_of(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
    if bytes.starts_with(PNG) {
        return Some(("image/png", "png"));
    }
    if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        return Some(("image/jpeg", "jpg"));
    }
    if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        return Some(("image/gif", "gif"));
    }
    let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP".as_slice());
    is_webp.then_some(("image/webp", "webp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_passes_is_tried_again_for_some_hours() {
        let fault = ImageFault::Passing("503".into());
        let mut now = Timestamp(0);
        let mut tries = 0;
        while let ImageState::Waiting { wake_at } = after_fault(tries, &fault, now) {
            assert!(wake_at > now);
            (now, tries) = (wake_at, tries + 1);
        }
        assert_eq!(tries + 1, TRIES);
        assert!((2 * 3600 * 1000..4 * 3600 * 1000).contains(&now.0), "{now:?}");
        assert_eq!(after_fault(0, &ImageFault::Final("no image".into()), now), ImageState::GivenUp);
    }

    #[test]
    fn the_bytes_say_the_type() {
        assert_eq!(type_of(b"\x89PNG\r\n\x1a\n...").map(|(_, ending)| ending), Some("png"));
        assert_eq!(type_of(b"\xff\xd8\xff\xe0").map(|(kind, _)| kind), Some("image/jpeg"));
        assert_eq!(type_of(b"GIF89a").map(|(_, ending)| ending), Some("gif"));
        assert_eq!(type_of(b"RIFF\0\0\0\0WEBPVP8 ").map(|(_, ending)| ending), Some("webp"));
        for no in [b"".as_slice(), b"<svg xmlns=", b"<html>", b"RIFF\0\0\0\0WAVE", b"\x89PNG", b"GIF"] {
            assert_eq!(type_of(no), None, "{no:?}");
        }
    }
}
