//! Parts of lists: a list that goes on behind its limit says so.
//!
//! One more than is wanted is asked for, so nobody is told of more where there is none. The surprise: programs are told too, on
//! standard error, because a list that was cut looks whole.

use super::args::PageArgs;
use super::output::say;
use super::text::safe;
use crate::control::api::checked::MAX_LIMIT;

/// How many a call is asked for.
pub fn asked(page: &PageArgs) -> i64 {
    i64::from(page.limit.saturating_add(1).min(MAX_LIMIT))
}

/// Keeps as many as are wanted. What to say where there are more; `before` names the last one kept where `--before` takes it.
pub fn kept<T>(items: &mut Vec<T>, page: &PageArgs, before: impl Fn(&T) -> Option<String>) -> Option<String> {
    let wanted = page.limit as usize;
    let is_cut = items.len() > wanted;
    items.truncate(wanted);
    // As many as a call takes leave no room for one more.
    let is_full = !is_cut && wanted >= MAX_LIMIT as usize && items.len() == MAX_LIMIT as usize;
    if !is_cut && !is_full {
        return None;
    }
    let last = items.last().filter(|_| page.offset == 0).and_then(before);
    let shown = items.len();
    let on = match last {
        Some(last) => format!("--before {}", safe(&last)),
        None => format!("--offset {}", page.offset as usize + shown),
    };
    Some(if is_cut {
        format!("contentctl: {shown} shown, there are more: --limit N shows more at once, {on} goes on there")
    } else {
        format!("contentctl: {shown} shown, as many as one call gives, and there may be more: {on} goes on there")
    })
}

/// Says it behind the list.
pub fn tell_more(more: Option<String>) {
    if let Some(more) = more {
        say(&more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_goes_on_says_where() {
        let page = |limit, offset| PageArgs { limit, offset };
        let told = |page: &PageArgs, has_before: bool| {
            let there = 1..=usize::try_from(asked(page)).expect("a count");
            let mut items: Vec<usize> = there.collect();
            let more = kept(&mut items, page, |item| has_before.then(|| item.to_string())).expect("there are more");
            (items.len(), more)
        };
        let (count, more) = told(&page(50, 0), true);
        assert!(count == 50 && more.contains("50 shown, there are more") && more.contains("--before 50 "), "{more}");
        assert!(told(&page(50, 0), false).1.contains("--offset 50 "));
        assert!(told(&page(50, 7), true).1.contains("--offset 57 "), "both at once would pass over some");
        let (count, more) = told(&page(5_000, 0), true);
        assert!(count == 1_000 && more.contains("there may be more") && more.contains("--before 1000 "), "{more}");
        let mut few = vec![1, 2];
        assert!(kept(&mut few, &page(2, 0), |_| None).is_none() && few.len() == 2, "it ends just there");
    }
}
