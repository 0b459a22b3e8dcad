//! What may be typed about reviews.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{PageArgs, PieceArgs, ReviewArgs};

/// What to do with pieces that wait for a review.
#[derive(Debug, Subcommand)]
pub enum ReviewVerb {
    /// Pieces that wait, the oldest first
    List {
        /// Of this account: number or name
        #[arg(long, allow_hyphen_values = true)]
        account: Option<String>,
        /// Which part.
        #[command(flatten)]
        page: PageArgs,
    },
    /// A piece as text with what the rules say of it, in $PAGER on a terminal
    Show {
        /// The record's number
        #[arg(value_name = "ID", value_parser = super::content_number)]
        content_id: i64,
        /// How.
        #[command(flatten)]
        piece: PieceArgs,
    },
    /// Approve a piece and pool it
    Approve(ReviewArgs),
    /// Reject a piece, and have it written again with --again
    Reject(RejectArgs),
    /// Change a piece in $VISUAL or $EDITOR, or from a file, or its title: a new version that waits for a review
    Edit(EditArgs),
}

/// A rejection.
#[derive(Debug, ClapArgs)]
pub struct RejectArgs {
    /// The record's number
    #[arg(value_name = "ID", value_parser = super::content_number)]
    pub content_id: i64,
    /// The hash of what you looked at, or 8 or more of its first digits; another one is refused
    #[arg(long)]
    pub hash: Option<String>,
    /// Why; of a piece that is rejected already, where none was given then
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "again")]
    pub reason: Option<String>,
    /// Have a new task write it again, with this remark in its requirements
    #[arg(long, value_name = "REMARK", allow_hyphen_values = true)]
    pub again: Option<String>,
}

/// An edit.
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("change").multiple(true).args(["title", "file"]))]
pub struct EditArgs {
    /// The record's number
    #[arg(value_name = "ID", value_parser = super::content_number)]
    pub content_id: i64,
    /// Take the new text from this file, or - for standard input
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Give it this title; without --file the text stays as it is, and no editor is opened
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub title: Option<String>,
    /// The hash of what the change is based on; without it that is what is there now
    #[arg(long, requires = "change")]
    pub hash: Option<String>,
}
