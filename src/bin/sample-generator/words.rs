//! The sentences that the sample's pieces are made of, in two languages.
//!
//! Nothing here decides anything. `{t}` stands for the topic, `{k}` for a keyword, `{tone}` for the tone. A piece takes 32
//! sentences and 4 headings, so a language needs at least that many of each.

/// What a piece in one language is made of.
pub struct Language {
    pub intro: &'static str,
    pub closing: &'static str,
    pub keywords_heading: &'static str,
    /// What stands between two sentences.
    pub gap: &'static str,
    pub tone: &'static str,
    pub openings: &'static [&'static str],
    pub headings: &'static [&'static str],
    pub sentences: &'static [&'static str],
    pub keyword_sentences: &'static [&'static str],
    pub endings: &'static [&'static str],
}

/// Chinese where the topic has a Chinese character, else English.
pub fn language_of(topic: &str) -> &'static Language {
    let is_han = |c: char| ('\u{3400}'..='\u{9fff}').contains(&c) || ('\u{20000}'..='\u{323af}').contains(&c);
    if topic.chars().any(is_han) { &CHINESE } else { &ENGLISH }
}

static ENGLISH: Language = Language {
    intro: "Introduction",
    closing: "In closing",
    keywords_heading: "Words to remember",
    gap: " ",
    tone: "The tone asked for was {tone}, and we try to keep to it.",
    openings: &[
        "Most people meet {t} long before they have a name for it. This piece looks at what it is, where it works well, and what it asks of those who take it seriously.",
        "There is no shortage of opinions about {t}; there is a shortage of calm descriptions. What follows is an attempt at one, from first contact to daily practice.",
        "Ask five people about {t} and you will hear six answers. We sorted them, kept what held up, and wrote down what we would have liked to know at the start.",
    ],
    headings: &[
        "Where {t} comes from",
        "What changes in practice",
        "The costs that nobody lists",
        "How to begin with {t}",
        "Three mistakes to avoid",
        "What the numbers can and cannot say",
        "Looking ahead",
        "People before tools",
    ],
    sentences: &[
        "The first thing a newcomer notices about {t} is how much of it happens out of sight.",
        "Good results are seldom the work of one bold decision; they come from a hundred small ones that point the same way.",
        "A plain list on a wall has rescued more projects than any method with a famous name.",
        "It helps to ask, before anything else, who will live with the outcome a year from now.",
        "In the early days {t} was a matter for a few patient specialists, and their habits still shape the field.",
        "Progress came when people began to write down what had failed, with dates and reasons.",
        "The difference between the careful and the careless shows itself only under load.",
        "Every promise has a price, and the honest ones carry it on the label.",
        "Those who work with {t} every day tend to speak of it in surprisingly modest words.",
        "A short walk through the place where the work is done teaches more than a long report.",
        "What looks like talent from a distance is often a good set of habits seen up close.",
        "One town council halved its delays by doing nothing more than answering letters in order.",
        "Measurements are useful as long as nobody is paid to improve them.",
        "It is easy to overrate the first month and to underrate the third year.",
        "When two experts disagree about {t}, they usually mean two different things by the same word.",
        "A small trial with a clear end is worth more than a large plan with none.",
        "The best tools disappear from attention; the worst ones ask for it every morning.",
        "Whoever begins with {t} should expect to be wrong in public at least once, and to be better for it.",
        "Time set aside for repair is not lost; it is the cheapest insurance there is.",
        "Several readers told us that the turning point was the day they stopped adding and began to remove.",
        "The numbers agree on the direction and differ on the speed, which is about as much as one can ask of numbers.",
        "No two places have the same start, so a recipe that travels well is rare and should be kept.",
        "What is simple to explain is usually simple to hand over, and that alone is a reason to seek it.",
        "There is a quiet pleasure in work that others can check.",
        "A failure that is noticed within the hour costs a tenth of one that is noticed within the week.",
        "Much of the talk around {t} would be settled by a single afternoon of looking closely.",
        "The people who were doubtful at first often become its most careful supporters.",
        "Written rules age; the reasons behind them age far more slowly, so write down the reasons.",
        "It pays to decide in advance what would make us stop.",
        "An outside view, asked for early and taken seriously, saves months.",
        "Nothing about {t} requires hurry, and much about it punishes hurry.",
        "Those who share their unfinished work learn faster than those who polish in silence.",
        "A tradition is an experiment that has gone on long enough to have a result.",
        "In the end the question is less what is possible than what can be kept up.",
        "The budget shows what an organisation believes, whatever its posters say.",
        "A good beginning is small, visible and easy to undo.",
    ],
    keyword_sentences: &[
        "No account of {t} is complete without {k}: it is where theory meets the working day.",
        "{k} deserves a line of its own, because it decides more than it seems to.",
        "Finally there is {k}, which many leave until last and wish they had not.",
    ],
    endings: &[
        "None of this makes {t} easy, but it makes it something that can be learned, shared and improved. Begin small, write down what you see, and come back to it in a season.",
        "If one thought should remain, let it be this: {t} rewards attention more than effort. The rest follows, slowly and then all at once.",
        "We have described {t} as it looks today. It will look different in a few years, and the habits described here are the best preparation for that which we know.",
    ],
};

static CHINESE: Language = Language {
    intro: "导语",
    closing: "结语",
    keywords_heading: "几个关键词",
    gap: "",
    tone: "本文力求保持“{tone}”的语气。",
    openings: &[
        "很多人在知道{t}这个说法之前，其实早已与它打过交道。本文想说清楚它是什么、在哪里行之有效，以及它对认真对待它的人提出了怎样的要求。",
        "关于{t}，从来不缺观点，缺的是平静的描述。下面的文字从初次接触写到日常实践，尽量只说看得见、用得上的东西。",
        "向五个人打听{t}，往往会得到六种回答。我们把这些回答整理了一遍，留下经得起推敲的部分，写给刚刚起步的读者。",
    ],
    headings: &[
        "{t}从何而来",
        "实践中的变化",
        "没有写在账上的成本",
        "如何迈出第一步",
        "三个容易犯的错误",
        "数字能说明什么",
        "展望未来",
        "人比工具更重要",
    ],
    sentences: &[
        "初学者最先注意到的，是{t}有很大一部分发生在看不见的地方。",
        "好的结果很少来自一次大胆的决定，更多来自一百个方向一致的小决定。",
        "墙上一张朴素的清单，救过的项目比任何有名的方法都多。",
        "在动手之前，先问一问一年之后谁会与这个结果朝夕相处。",
        "早年间，{t}只是少数耐心的专业人士的事，他们的习惯至今仍在影响这个领域。",
        "真正的进步，始于人们开始把失败连同日期和原因一起记下来。",
        "细心与粗心的差别，只有在压力之下才会显露出来。",
        "每一个承诺都有价格，诚实的承诺会把价格写在标签上。",
        "每天与{t}打交道的人，谈起它时用词往往出人意料地谦逊。",
        "到现场走一圈，比读一份厚厚的报告学到的更多。",
        "远看像是天赋的东西，近看常常只是一套好习惯。",
        "有一个小城只做了一件事，就是按顺序回复来信，积压便少了一半。",
        "只要没有人因为数字好看而得到奖励，度量就是有用的。",
        "人们容易高估第一个月，也容易低估第三年。",
        "当两位专家对{t}意见不一时，他们多半是用同一个词说着两件事。",
        "一次有明确终点的小试验，胜过一份没有终点的大计划。",
        "最好的工具会从注意力中消失，最差的工具每天早晨都要人照顾。",
        "着手做{t}的人，应当准备好至少当众错一次，并且因此变得更好。",
        "留给修补的时间并没有浪费，那是最便宜的保险。",
        "好几位读者告诉我们，转折点出现在他们停止做加法、开始做减法的那一天。",
        "各种数字在方向上一致，在速度上不同，这大概已是对数字最高的要求。",
        "没有两个地方的起点完全相同，能够到处适用的做法十分少见，值得珍惜。",
        "容易讲清楚的东西通常也容易交接，仅凭这一点就值得追求。",
        "能够被别人检查的工作，自有一种安静的乐趣。",
        "一小时之内发现的问题，代价只有一周之后才发现的十分之一。",
        "围绕{t}的许多争论，只要花一个下午仔细观察就可以平息。",
        "起初心存疑虑的人，后来常常成为最认真的支持者。",
        "写下来的规则会变旧，规则背后的理由旧得慢得多，所以要把理由也写下来。",
        "事先约定好在什么情况下停下来，是一件划算的事。",
        "尽早请外人看一看，并且认真对待他的意见，可以省下好几个月。",
        "{t}从不要求匆忙，却常常惩罚匆忙。",
        "愿意拿出半成品的人，比关起门来打磨的人学得更快。",
        "所谓传统，就是一场持续得足够久、已经有了结果的试验。",
        "归根到底，问题不在于什么是可能的，而在于什么能够坚持下去。",
        "无论标语怎么写，预算总会说出一个组织真正相信什么。",
        "好的开端应当很小、看得见，而且容易收回。",
    ],
    keyword_sentences: &[
        "谈论{t}而不谈{k}，是不完整的：理论正是在这里与日常工作相遇。",
        "{k}值得单独写上一笔，因为它决定的事情比看上去更多。",
        "最后要说的是{k}，许多人把它留到最后，事后又后悔没有早些开始。",
    ],
    endings: &[
        "这一切并不会让{t}变得轻松，却让它变得可以学习、可以分享、可以改进。总结起来只有一句话：从小处开始，记下所见，过一个季节再回头看看。",
        "如果只能留下一个念头，那就是：{t}回报的是专注，而不只是努力。其余的一切会慢慢到来，然后忽然一起到来。",
        "我们描述的是{t}今天的样子。几年之后它会有所不同，而文中所说的习惯，是我们所知的最好的准备。",
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_never_runs_out_of_sentences() {
        for language in [&ENGLISH, &CHINESE] {
            assert!(language.sentences.len() >= 32 && language.headings.len() >= 4);
        }
    }
}
