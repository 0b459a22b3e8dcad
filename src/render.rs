//! What people and publishers read of a piece: sanitised HTML, plain text, and the hash that an approval names.
//!
//! A piece is untrusted: raw HTML in its Markdown is shown as text, the generator's own HTML is sanitised, and no
//! script, style, frame or event handler survives either way. Nothing here fails; bad markup is text.

use pulldown_cmark::{Event, Options, Parser, TagEnd, html};
use sha2::{Digest, Sha256};

use crate::task::content::RenderedPiece;
use crate::task::outcome::Piece;

/// Renders a piece. Time grows linearly with its size; megabytes take a noticeable part of a second.
pub fn render(piece: &Piece) -> RenderedPiece {
    let html = match &piece.html {
        Some(own) if !own.trim().is_empty() => ammonia::clean(own),
        Some(_) | None => ammonia::clean(&html_of_markdown(&piece.content)),
    };
    let content_hash = hash_of(piece, &html);
    RenderedPiece { content: piece.content.clone(), plain_text: plain_text_of(&piece.content), html, content_hash }
}

/// The same for a version by hand: what an approval names is its title too, because a person may have written it. What a
/// generator wrote has the title of its topic, and its hash is without it, as it always was.
pub fn render_version(piece: &Piece, title: &str) -> RenderedPiece {
    titled(render(piece), title)
}

/// The text that stands there, under another title: its HTML is kept as it is.
pub fn retitled(piece: &Piece, html: &str, title: &str) -> RenderedPiece {
    let rendered = RenderedPiece {
        content: piece.content.clone(),
        plain_text: plain_text_of(&piece.content),
        html: html.to_owned(),
        content_hash: hash_of(piece, html),
    };
    titled(rendered, title)
}

fn titled(rendered: RenderedPiece, title: &str) -> RenderedPiece {
    let mut hasher = Sha256::new();
    for part in ["title and piece", title, rendered.content_hash.as_str()] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    RenderedPiece { content_hash: hex(&hasher.finalize()), ..rendered }
}

fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES | Options::ENABLE_TASKLISTS
}

fn html_of_markdown(markdown: &str) -> String {
    // Markup inside Markdown is what a hostile topic would smuggle in: it is shown, not obeyed.
    let events = Parser::new_ext(markdown, options()).map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        other => other,
    });
    let mut rendered = String::with_capacity(markdown.len() * 5 / 4);
    html::push_html(&mut rendered, events);
    rendered
}

fn plain_text_of(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    for event in Parser::new_ext(markdown, options()) {
        match event {
            Event::Text(part) | Event::Code(part) | Event::InlineMath(part) | Event::DisplayMath(part) => {
                text.push_str(&part);
            }
            Event::SoftBreak | Event::HardBreak | Event::Rule => text.push('\n'),
            Event::End(
                TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::Item | TagEnd::TableRow | TagEnd::CodeBlock,
            ) => {
                text.push('\n');
            }
            Event::End(TagEnd::TableCell) => text.push(' '),
            Event::Start(_)
            | Event::End(_)
            | Event::Html(_)
            | Event::InlineHtml(_)
            | Event::FootnoteReference(_)
            | Event::TaskListMarker(_) => {}
        }
    }
    text
}

/// Each part is preceded by its length, so that no two pieces share a hash by moving a boundary.
fn hash_of(piece: &Piece, html: &str) -> String {
    let mut hasher = Sha256::new();
    let images = piece.images.iter().map(|image| image.url.as_str());
    for part in [piece.content.as_str(), html].into_iter().chain(images) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hex(&hasher.finalize())
}

/// The SHA-256 of some bytes in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(content: &str, html: Option<&str>) -> Piece {
        Piece { content: content.into(), html: html.map(str::to_owned), ..Piece::default() }
    }

    #[test]
    fn markdown_becomes_html_and_plain_text() {
        let rendered = render(&piece("# 标题\n\nSome *text* and `code`.\n\n![cover](https://e.org/a.png)", None));
        assert!(rendered.html.contains("<h1>标题</h1>"), "{}", rendered.html);
        assert!(rendered.html.contains("<img src=\"https://e.org/a.png\""), "{}", rendered.html);
        assert_eq!(rendered.plain_text, "标题\nSome text and code.\ncover\n");
    }

    #[test]
    fn no_script_survives_from_either_side() {
        for hostile in ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))"] {
            for rendered in [render(&piece(hostile, None)), render(&piece("x", Some(hostile)))] {
                let html = rendered.html.to_lowercase();
                assert!(!html.contains("<script") && !html.contains("<img src=x onerror"), "{html}");
                assert!(!html.contains("href=\"javascript"), "{html}");
            }
        }
    }

    #[test]
    fn the_hash_changes_with_each_part() {
        let by_hand = |text: &str, title: &str| render_version(&piece(text, None), title).content_hash;
        assert_ne!(by_hand("a", "t"), by_hand("a", "u"), "an approval is of the title too");
        assert_ne!(by_hand("a", "t"), by_hand("b", "t"));
        let kept = retitled(&piece("a", None), "<p>its own</p>", "t");
        assert_eq!((kept.html.as_str(), kept.plain_text.trim()), ("<p>its own</p>", "a"));
        let plain = render(&piece("a", None)).content_hash;
        assert_eq!(plain.len(), 64);
        assert_ne!(plain, render(&piece("b", None)).content_hash);
        assert_ne!(plain, render(&piece("a", Some("<p>b</p>"))).content_hash);
    }
}
