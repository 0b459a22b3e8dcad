//! The rules by which a piece is approved without a person: `auto_approve` means these, and none at all means approve.
//!
//! Pure: judged inside the transaction that completes a task. Every rule that refuses says so in a sentence; they are all
//! told, not the first alone. The surprise: a word is looked for in what a reader sees, so case, width, invisible
//! characters, markup and line breaks do not hide it; and it is looked for as a whole word only where its script has
//! words. Chinese has none, so there a word is found wherever its characters stand side by side.

use std::collections::BTreeMap;

use super::content::is_counted_singly;

/// A word or phrase as it is looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Phrase {
    written: String,
    /// Never empty.
    folded: Vec<char>,
}

impl Phrase {
    /// Of a text as somebody wrote it; none where nothing of it can be seen.
    pub fn new(written: &str) -> Option<Self> {
        let folded = folded(written);
        let is_seen = folded.iter().any(|character| *character != ' ');
        is_seen.then(|| Self { written: written.trim().to_owned(), folded: trimmed(folded) })
    }

    /// As it was written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Whether it stands at this place of a text, as a word where its script has words.
    fn is_at(&self, text: &[char], at: usize) -> bool {
        let end = at + self.folded.len();
        text.get(at..end).is_some_and(|there| there == self.folded)
            && !joins(at.checked_sub(1).and_then(|before| text.get(before)), self.folded.first())
            && !joins(self.folded.last(), text.get(end))
    }
}

/// Which of these phrases stand in one of these texts. Each text is gone through once, whatever their number: it is judged
/// where everybody's writes wait.
fn found_in(phrases: &[Phrase], texts: &[Vec<char>]) -> Vec<bool> {
    let mut by_first: BTreeMap<char, Vec<usize>> = BTreeMap::new();
    for (index, phrase) in phrases.iter().enumerate() {
        by_first.entry(phrase.folded[0]).or_default().push(index);
    }
    let mut found = vec![false; phrases.len()];
    for text in texts {
        for (at, character) in text.iter().enumerate() {
            for index in by_first.get(character).into_iter().flatten() {
                found[*index] = found[*index] || phrases[*index].is_at(text, at);
            }
        }
    }
    found
}

/// Whether two neighbours belong to one word.
fn joins(left: Option<&char>, right: Option<&char>) -> bool {
    let is_of_word = |character: Option<&char>| {
        character.is_some_and(|character| character.is_alphanumeric() && !is_counted_singly(*character))
    };
    is_of_word(left) && is_of_word(right)
}

fn trimmed(mut characters: Vec<char>) -> Vec<char> {
    while characters.last() == Some(&' ') {
        characters.pop();
    }
    let begin = characters.iter().position(|character| *character != ' ').unwrap_or(0);
    characters.split_off(begin)
}

/// A text without what does not change how it reads: case, full width, invisible characters, the kind and number of spaces.
fn folded(text: &str) -> Vec<char> {
    let mut folded = Vec::with_capacity(text.len());
    for character in text.chars() {
        if is_invisible(character) {
            continue;
        }
        if character.is_whitespace() {
            if folded.last() != Some(&' ') {
                folded.push(' ');
            }
            continue;
        }
        // Upper first: `ß` is `SS` there, and both sigmas are one.
        folded.extend(narrowed(character).to_uppercase().flat_map(char::to_lowercase));
    }
    folded
}

/// The ordinary form of a letter of double width.
fn narrowed(character: char) -> char {
    match u32::from(character) {
        wide @ 0xFF01..=0xFF5E => char::from_u32(wide - 0xFEE0).unwrap_or(character),
        _ => character,
    }
}

/// Marks that a reader does not see.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
        || character.is_control() && !character.is_whitespace()
}

/// What is asked of a piece before it is approved by itself.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ReviewRules {
    /// The generator's own score at least; a piece without one does not reach it.
    pub min_score: Option<f64>,
    /// Words at least.
    pub min_words: Option<u32>,
    /// Words at most.
    pub max_words: Option<u32>,
    /// Images at least.
    pub min_images: Option<u32>,
    /// None of these.
    pub forbidden: Vec<Phrase>,
    /// Each of these.
    pub required: Vec<Phrase>,
}

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// Its title.
    pub title: &'a str,
    /// Its text without markup.
    pub plain_text: &'a str,
    /// Its HTML, which may say more than the text.
    pub html: &'a str,
    /// See [`super::content::word_count`].
    pub word_count: u32,
    /// The generator's own.
    pub score: Option<f64>,
    /// How many.
    pub images: usize,
}

/// Why a text may not be what its generator meant, in a sentence: characters that stand for bytes nobody could read, or that belong
/// in no text. They are looked for in each piece, whatever the rules are, because nobody would see them before a reader does.
pub fn broken_characters(text: &str) -> Option<String> {
    let is_broken = |byte: u8| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r');
    let at = |at: usize| text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1;
    if let Some(first) = text.find(char::REPLACEMENT_CHARACTER) {
        return Some(format!(
            "it has the sign for bytes that are no UTF-8 (U+FFFD) {}, first in line {}",
            times(text.matches(char::REPLACEMENT_CHARACTER).count()),
            at(first)
        ));
    }
    let first = text.bytes().position(is_broken)?;
    Some(format!(
        "it has control characters {}, first U+{:04X} in line {}",
        times(text.bytes().filter(|byte| is_broken(*byte)).count()),
        text.as_bytes()[first],
        at(first)
    ))
}

fn times(count: usize) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

impl ReviewRules {
    /// Why the piece is not approved by itself; none of them: it is.
    pub fn judge(&self, piece: &Judged<'_>) -> Vec<String> {
        let mut findings = Vec::new();
        if let Some(least) = self.min_score {
            match piece.score {
                Some(score) if score >= least => {}
                Some(score) => findings.push(format!("its score is {score}, and at least {least} is wanted")),
                None => findings.push(format!("its generator gave no score, and at least {least} is wanted")),
            }
        }
        let words = piece.word_count;
        if let Some(least) = self.min_words.filter(|least| words < *least) {
            findings.push(format!("it has {words} words, and at least {least} are wanted"));
        }
        if let Some(most) = self.max_words.filter(|most| words > *most) {
            findings.push(format!("it has {words} words, and at most {most} are wanted"));
        }
        if let Some(least) =
            self.min_images.filter(|least| piece.images < usize::try_from(*least).unwrap_or(usize::MAX))
        {
            findings.push(format!("it has {} images, and at least {least} are wanted", piece.images));
        }
        self.look_for_words(piece, &mut findings);
        findings
    }

    fn look_for_words(&self, piece: &Judged<'_>, findings: &mut Vec<String>) {
        if self.forbidden.is_empty() && self.required.is_empty() {
            return;
        }
        let seen = [piece.title, piece.plain_text].map(folded).into_iter().chain([folded(&text_of_html(piece.html))]);
        let seen: Vec<Vec<char>> = seen.collect();
        let forbidden = self.forbidden.iter().zip(found_in(&self.forbidden, &seen));
        for (phrase, _) in forbidden.filter(|(_, is_there)| *is_there) {
            findings.push(format!("{:?} is in it, which is forbidden", phrase.written));
        }
        let required = self.required.iter().zip(found_in(&self.required, &seen));
        for (phrase, _) in required.filter(|(_, is_there)| !is_there) {
            findings.push(format!("{:?} is not in it, which is required", phrase.written));
        }
    }
}

/// Elements inside a line: what stands before and after one is read as one word.
const INLINE: [&str; 24] = [
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "del", "em", "i", "ins", "kbd", "mark", "q", "s", "samp", "small",
    "span", "strike", "strong", "sub", "sup", "u", "var",
];

/// What a reader sees of sanitised HTML, with the texts that stand for images. It is read as the sanitiser writes it:
/// quotes around each value, `<` never in a text.
pub fn text_of_html(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        text.push_str(&unescaped(&rest[..start]));
        let tag = &rest[start + 1..];
        let end = end_of_tag(tag);
        let inside = &tag[..end];
        let name = inside.trim_start_matches('/');
        let name = name.split(|character: char| !character.is_ascii_alphanumeric()).next().unwrap_or_default();
        if !INLINE.contains(&name) {
            text.push(' ');
        }
        for attribute in [" alt=\"", " title=\""] {
            let value = inside.split_once(attribute).and_then(|(_, rest)| rest.split('"').next());
            if let Some(value) = value {
                text.push(' ');
                text.push_str(&unescaped(value));
                text.push(' ');
            }
        }
        rest = tag.get(end + 1..).unwrap_or_default();
    }
    text.push_str(&unescaped(rest));
    text
}

/// Where a tag ends: the first `>` outside of quotes.
fn end_of_tag(tag: &str) -> usize {
    let mut is_quoted = false;
    for (at, byte) in tag.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'>' if !is_quoted => return at,
            _ => {}
        }
    }
    tag.len()
}

fn unescaped(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&nbsp;", "\u{a0}");
    text.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_belong_in_no_text_are_told_with_their_line() {
        for fine in ["", "a\tb\r\nc\n", "caf\u{e9} \u{85} \u{7f} \u{200b}", "\u{fffc}"] {
            assert_eq!(broken_characters(fine), None, "{fine:?}");
        }
        let told = |text: &str| broken_characters(text).unwrap_or_default();
        let latin = String::from_utf8_lossy(b"a\nb\ncaf\xe9").into_owned();
        assert_eq!(told(&latin), "it has the sign for bytes that are no UTF-8 (U+FFFD) once, first in line 3");
        assert_eq!(told("a\n\0b\u{c}"), "it has control characters 2 times, first U+0000 in line 2");
    }

    fn finds(phrase: &str, text: &str) -> bool {
        let phrase = Phrase::new(phrase).expect("a phrase");
        let rules = ReviewRules { forbidden: vec![phrase], ..ReviewRules::default() };
        !rules.judge(&Judged { plain_text: text, ..EMPTY }).is_empty()
    }

    const EMPTY: Judged<'static> =
        Judged { title: "", plain_text: "", html: "", word_count: 0, score: None, images: 0 };

    #[test]
    fn a_word_is_found_whatever_hides_it() {
        for (phrase, text) in [
            ("casino", "Visit the CASINO."),
            ("Straße", "in der STRASSE dort"),
            ("ΣΊΣΥΦΟΣ", "ο Σίσυφος"),
            ("casino", "ｃａｓｉｎｏ"),
            ("casino", "ca\u{200b}si\u{ad}no"),
            ("as an AI", "As\u{a0}an\n  ai, I"),
            ("赌博", "网上赌博平台"),
            ("AI", "使用AI编写"),
            ("최고", "최고!"),
        ] {
            assert!(finds(phrase, text), "{phrase:?} in {text:?}");
        }
    }

    #[test]
    fn a_part_of_a_word_is_no_word() {
        for (phrase, text) in [
            ("ass", "a class of assets"),
            ("casino", "casinos"),
            ("AI", "said the maid"),
            ("赌博", "赌 博"),
            ("3", "34 or 13"),
        ] {
            assert!(!finds(phrase, text), "{phrase:?} in {text:?}");
        }
        assert!(finds("c++", "in C++ and"), "marks are no part of a word");
        assert!(Phrase::new(" \u{200b}\n").is_none(), "nothing is no phrase");
    }

    #[test]
    fn many_words_are_looked_for_in_one_go() {
        let forbidden: Vec<Phrase> = (0..2_000).filter_map(|n| Phrase::new(&format!("word{n}"))).collect();
        let rules = ReviewRules { forbidden, ..ReviewRules::default() };
        let text = "wordy words word1999 word20000 ".repeat(20_000);
        assert_eq!(rules.judge(&Judged { plain_text: &text, ..EMPTY }), ["\"word1999\" is in it, which is forbidden"]);
    }

    #[test]
    fn html_is_read_as_a_reader_does() {
        for (html, is_found) in [
            ("<p>ca<b>si</b>no</p>", true),
            ("<p>ca</p><p>sino</p>", false),
            ("<img src=\"x\" alt=\"a > casino\">", true),
            ("<a href=\"https://casino.example/\" rel=\"noopener\">here</a>", false),
            ("&lt;casino&gt;", true),
            ("<p", false),
            ("casino", true),
            ("x<img alt=\"", false),
        ] {
            let forbidden = Phrase::new("casino").into_iter().collect();
            let rules = ReviewRules { forbidden, ..ReviewRules::default() };
            assert_eq!(!rules.judge(&Judged { html, ..EMPTY }).is_empty(), is_found, "{html}");
        }
    }

    #[test]
    fn every_rule_that_refuses_says_so() {
        let phrases = |text: &str| Phrase::new(text).into_iter().collect::<Vec<_>>();
        let rules = ReviewRules {
            min_score: Some(0.5),
            min_words: Some(10),
            max_words: Some(20),
            min_images: Some(1),
            forbidden: phrases("spam"),
            required: phrases("source"),
        };
        let bad = Judged { plain_text: "Spam", word_count: 1, score: Some(0.25), ..EMPTY };
        let findings = rules.judge(&bad);
        assert_eq!(findings.len(), 5, "{findings:?}");
        assert_eq!(findings[0], "its score is 0.25, and at least 0.5 is wanted");
        assert_eq!(findings[1], "it has 1 words, and at least 10 are wanted");
        assert_eq!(findings[3], "\"spam\" is in it, which is forbidden");
        let good = Judged { title: "A Source", word_count: 20, score: Some(0.5), images: 1, ..EMPTY };
        assert_eq!(rules.judge(&good), Vec::<String>::new());
        assert!(rules.judge(&Judged { score: None, ..good })[0].contains("gave no score"));
        assert!(rules.judge(&Judged { score: Some(f64::NAN), ..good }).len() == 1, "no number reaches anything");
        assert_eq!(rules.judge(&Judged { word_count: 21, ..good }).len(), 1);
        assert_eq!(ReviewRules::default().judge(&bad), Vec::<String>::new(), "none configured means approve");
    }
}
