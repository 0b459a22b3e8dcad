//! Writes the piece: Markdown with a title, an introduction, sections and a closing, its HTML, a score and a cover.
//!
//! The same topic and key always give the same piece, so a test can compare two fetches byte for byte; another topic gives
//! another choice and order of sentences. A topic with a Chinese character in it gets a Chinese piece. The surprise: the
//! text is honest filler. It is meant to be long, well-formed and readable, never to be published.

use super::store::hash;
use super::words::{self, Language};

/// A finished piece.
pub struct Piece {
    /// Markdown, beginning with `# TITLE`.
    pub markdown: String,
    /// The same as HTML.
    pub html: String,
    /// 6.0 to 9.9.
    pub score: f64,
    /// The cover: one SVG document that refers to nothing outside itself.
    pub cover_svg: String,
}

/// A small generator of repeatable choices (splitmix64).
struct Chooser(u64);

impl Chooser {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn shuffled<T: Copy>(&mut self, from: &[T]) -> Vec<T> {
        let mut items = from.to_vec();
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
        items
    }
}

/// Composes the piece on a topic (already without marks) for a key.
pub fn compose(topic: &str, key: &str, keywords: &[String], tone: &str) -> Piece {
    let mut chooser = Chooser(hash(&format!("{topic}\0{key}")));
    let language = words::language_of(topic);
    let blocks = blocks(topic, keywords, tone, language, &mut chooser);
    let score = 6.0 + f64::from(u32::try_from(chooser.below(40)).unwrap_or(0)) / 10.0;
    let cover_svg = cover(topic, &mut chooser);
    Piece { markdown: markdown(&blocks), html: html(&blocks), score, cover_svg }
}

/// A part of the text: a heading of some depth (0 is a paragraph) and its words.
type Block = (usize, String);

fn blocks(topic: &str, keywords: &[String], tone: &str, language: &Language, chooser: &mut Chooser) -> Vec<Block> {
    let fill = |text: &str| text.replace("{t}", topic);
    let mut blocks = vec![(1, topic.to_owned()), (2, language.intro.to_owned())];
    let mut intro = fill(chooser.pick(language.openings));
    if !tone.is_empty() {
        intro += language.gap;
        intro += &language.tone.replace("{tone}", tone);
    }
    blocks.push((0, intro));
    let mut sentences = chooser.shuffled(language.sentences).into_iter();
    for heading in chooser.shuffled(language.headings).into_iter().take(4) {
        blocks.push((2, fill(heading)));
        for _ in 0..2 {
            let paragraph: Vec<String> = sentences.by_ref().take(4).map(&fill).collect();
            blocks.push((0, paragraph.join(language.gap)));
        }
    }
    if !keywords.is_empty() {
        blocks.push((2, language.keywords_heading.to_owned()));
        for (at, keyword) in keywords.iter().enumerate() {
            let sentence = language.keyword_sentences[at % language.keyword_sentences.len()];
            blocks.push((0, fill(sentence).replace("{k}", keyword)));
        }
    }
    blocks.push((2, language.closing.to_owned()));
    blocks.push((0, fill(chooser.pick(language.endings))));
    blocks
}

fn markdown(blocks: &[Block]) -> String {
    let lines = blocks.iter().map(|(depth, text)| match depth {
        0 => text.clone(),
        depth => format!("{} {text}", "#".repeat(*depth)),
    });
    lines.collect::<Vec<_>>().join("\n\n") + "\n"
}

fn html(blocks: &[Block]) -> String {
    let tags = blocks.iter().map(|(depth, text)| match depth {
        0 => format!("<p>{}</p>\n", escape(text)),
        depth => format!("<h{depth}>{}</h{depth}>\n", escape(text)),
    });
    tags.collect()
}

fn cover(topic: &str, chooser: &mut Chooser) -> String {
    let hue = chooser.below(360);
    let mut circles = String::new();
    for _ in 0..7 {
        let (x, y, radius) = (chooser.below(1200), chooser.below(630), 40 + chooser.below(160));
        let shade = (hue + chooser.below(60)) % 360;
        circles += &format!(
            "  <circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" fill=\"hsl({shade},60%,70%)\" opacity=\"0.5\"/>\n"
        );
    }
    let title: String = topic.chars().take(40).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"630\" viewBox=\"0 0 1200 630\">\n  \
         <rect width=\"1200\" height=\"630\" fill=\"hsl({hue},45%,35%)\"/>\n{circles}  \
         <text x=\"600\" y=\"330\" font-family=\"sans-serif\" font-size=\"48\" text-anchor=\"middle\" fill=\"#fff\">{}</text>\n</svg>\n",
        escape(&title)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(topic: &str, key: &str) -> Piece {
        compose(topic, key, &["alpha".to_owned(), "<b>".to_owned()], "warm")
    }

    #[test]
    fn the_same_topic_and_key_give_the_same_piece_and_others_another() {
        assert_eq!(sample("Tea", "1").markdown, sample("Tea", "1").markdown);
        assert_ne!(sample("Tea", "1").markdown, sample("Tea", "2").markdown);
        assert_ne!(sample("Tea", "1").markdown, sample("Silk", "1").markdown.replace("Silk", "Tea"));
    }

    #[test]
    fn a_piece_has_its_parts_its_keywords_and_several_hundred_words() {
        let english = sample("Tea", "1").markdown;
        assert!(english.starts_with("# Tea\n\n## Introduction\n\n"), "{english}");
        assert!(english.contains("alpha") && english.contains("warm") && english.contains("## In closing"));
        assert!(english.split_whitespace().count() > 350, "{}", english.split_whitespace().count());
        let chinese = sample("云南的茶", "1").markdown;
        assert!(chinese.starts_with("# 云南的茶\n\n## 导语\n\n") && chinese.contains("## 结语"), "{chinese}");
        assert!(chinese.chars().count() > 700, "{}", chinese.chars().count());
    }

    #[test]
    fn html_and_cover_escape_what_came_from_outside() {
        let piece = sample("<script>&", "1");
        assert!(!piece.html.contains("<script>") && !piece.html.contains("<b>"));
        assert!(!piece.cover_svg.contains("<script>") && piece.cover_svg.contains("&lt;script&gt;&amp;"));
    }
}
