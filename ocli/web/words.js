// The page's own words, English and 简体中文. Names of metrics, tasks and settings stay as the tool prints them.
const WORDS = {
  en: {
    results: "Results", charts: "Charts", conditions: "Conditions",
    task: "Task", model: "Model", score: "Score", interval: "95 % interval", capability: "Capability",
    subset: "Subset", target: "Target", answer: "Answer", id: "Item", meanOf: "mean of {n} tasks", unfold: "Show parts of {task}",
    best: "best", bestClose: "best, but the intervals meet", micro: "all items together", rule: "further rule", group: "group",
    partial: "partial: {part}",
    incomplete: "incomplete: {part}", noScore: "no score", lower: "lower is better", reference: "published {score}",
    right: "right", wrong: "wrong", unanswered: "unanswered", truncated: "truncated", failed: "failed", missing: "not yet asked",
    differ: "models differ", all: "all", pending: "not yet scored", ok: "ok", partly: "partly right",
    anyModel: "any model", allSubsets: "all subsets", search: "Search id, prompt, reply, answer", filter: "Filter",
    found: "{n} items", foundOf: "{n} of {all} items", searchEnded: "the search was ended before everything was looked through",
    none: "No item matches.", page: "{from}–{to} of {n}", pageNumber: "Page", previous: "Previous", next: "Next",
    close: "Close", back: "All results", loading: "Loading …", hint: "j k move · Enter opens · Esc closes · / searches",
    prompt: "Prompt as sent", context: "Context", earlier: "{n} earlier turns", examples: "earlier text, {n} lines",
    systemTurn: "system prompt", reply: "Reply", reasoning: "Reasoning",
    characters: "{n} characters", extracted: "Extracted answer", accepted: "also right", pattern: "Read by", rules: "Scores",
    finish: "Finish reason", tokens: "Tokens", seconds: "Seconds", error: "Error", emptyReply: "(empty reply)",
    noReply: "No reply yet.",
    tokensOf: "{prompt} in, {completion} out", sample: "sample {n}", choices: "Choices by likelihood",
    likelihood: "Likelihood of the text", choice: "Choice", logprob: "Log-prob.",
    perToken: "per token", relative: "relative", preferred: "preferred", isRight: "right one",
    system: "system", user: "user", assistant: "assistant", text: "text",
    byCapability: "Scores by capability", byTask: "Scores by task", bySubset: "Scores by subset",
    chartNote: "The lines are 95 % intervals.",
    subsetNote: "Sorted by the mean of the models.", showAll: "Show all {n}", showFewer: "Show fewer",
    versusTokens: "Score and completion tokens",
    versusCost: "Score and what it takes", perItem: "completion tokens per reply", costOf: "cost of the run ({currency})",
    meanScore: "mean score",
    more: "More about the answers: letters, patterns", outcomes: "What became of the items",
    patterns: "Which pattern read the answer", letters: "Letters chosen and letters that are right",
    isTarget: "right letters", nothing: "nothing read", share: "share of items", count: "items",
    differs: "differs", setting: "Setting", showSame: "Show {n} further settings", noDifference: "All settings are the same.",
    dark: "Dark", light: "Light", switchTheme: "Switch between light and dark", language: "中文", made: "made {time} by ocli {ocli}",
    notAll: "This file holds {held} of {items} items; open all of them with: ocli view", live: "not finished", progress: "Progress",
    cost: "Cost", lost: "The server does not answer: {error}", unknownTask: "There is no task {task}.",
    source: "Source", version: "Version", mode: "Mode", metric: "Metric", allNotes: "All notes",
    cannot: "This item cannot be shown: {error}",
  },
  zh: {
    results: "结果", charts: "图表", conditions: "评测条件",
    task: "任务", model: "模型", score: "得分", interval: "95% 置信区间", capability: "能力",
    subset: "子集", target: "标准答案", answer: "作答", id: "题目", meanOf: "{n} 个任务的平均", unfold: "展开 {task}",
    best: "最佳", bestClose: "最佳，但置信区间有重叠", micro: "全部题目合计", rule: "其他规则", group: "分组", partial: "仅部分：{part}",
    incomplete: "不完整：{part}", noScore: "无得分", lower: "越低越好", reference: "公布值 {score}",
    right: "正确", wrong: "错误", unanswered: "未作答", truncated: "被截断", failed: "请求失败", missing: "尚未请求",
    differ: "模型不一致", all: "全部", pending: "尚未评分", ok: "正常", partly: "部分正确",
    anyModel: "任一模型", allSubsets: "全部子集", search: "搜索题号、提示词、回复、答案", filter: "筛选",
    found: "{n} 题", foundOf: "{all} 题中的 {n} 题", searchEnded: "搜索未完成，仅列出已找到的", none: "没有符合条件的题目。", page: "第 {from}–{to} 题，共 {n} 题",
    pageNumber: "页码", previous: "上一页", next: "下一页",
    close: "关闭", back: "全部结果", loading: "加载中……", hint: "j k 移动 · Enter 打开 · Esc 关闭 · / 搜索",
    prompt: "实际发送的提示词", context: "上文", earlier: "之前的 {n} 轮对话", examples: "之前的文本，{n} 行", systemTurn: "系统提示词", reply: "回复",
    reasoning: "推理过程",
    characters: "{n} 个字符", extracted: "提取的答案", accepted: "同样正确", pattern: "提取方式", rules: "各项得分",
    finish: "结束原因", tokens: "词元", seconds: "秒", error: "错误", emptyReply: "（空回复）", noReply: "尚无回复。",
    tokensOf: "输入 {prompt}，输出 {completion}", sample: "第 {n} 次采样", choices: "各选项的似然", likelihood: "文本的似然", choice: "选项",
    logprob: "对数概率",
    perToken: "每词元", relative: "相对概率", preferred: "模型所选", isRight: "正确选项",
    system: "系统", user: "用户", assistant: "助手", text: "文本",
    byCapability: "各能力得分", byTask: "各任务得分", bySubset: "各子集得分", chartNote: "线段为 95% 置信区间。",
    subsetNote: "按各模型平均分排序。", showAll: "显示全部 {n} 个", showFewer: "收起", versusTokens: "得分与输出词元",
    versusCost: "得分与开销", perItem: "每条回复的输出词元", costOf: "总费用（{currency}）", meanScore: "平均得分",
    more: "更多：所选字母、提取方式", outcomes: "各题结果", patterns: "答案由哪种方式读出", letters: "所选字母与正确字母",
    isTarget: "正确字母", nothing: "未读出", share: "题目占比", count: "题数",
    differs: "不同", setting: "设置", showSame: "显示其余 {n} 项设置", noDifference: "所有设置均相同。",
    dark: "深色", light: "浅色", switchTheme: "切换浅色与深色", language: "English", made: "{time} 由 ocli {ocli} 生成",
    notAll: "此文件包含 {items} 题中的 {held} 题；查看全部请运行：ocli view", live: "尚未完成", progress: "进度",
    cost: "费用", lost: "服务器没有响应：{error}", unknownTask: "没有任务 {task}。",
    source: "来源", version: "版本", mode: "模式", metric: "指标", allNotes: "全部说明", cannot: "无法显示此题：{error}",
  },
};

const CAPABILITY_WORDS = {
  exam: "考试", knowledge: "知识", language: "语言", understanding: "理解", reasoning: "推理", math: "数学",
  code: "代码", instruction: "指令遵循", long_context: "长文本", safety: "安全", chat: "对话",
};
const CAPABILITIES = Object.keys(CAPABILITY_WORDS);

let language = "en";

// Returns a word of the page in its language, with values put in.
function say(key, values = {}) {
  return (WORDS[language][key] ?? key).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

function capabilityName(name) {
  const plain = name.replaceAll("_", " ");
  return language === "zh" ? CAPABILITY_WORDS[name] ?? plain : plain.charAt(0).toUpperCase() + plain.slice(1);
}

const count = (n) => (n ?? 0).toLocaleString("en-US");
const percent = (part, whole) => `${(100 * part / whole).toFixed(1)} %`;
const missingScore = (score) => score === null || score === undefined;

// A score of the summary (0 to 100, or a perplexity of any size), as the tool prints it.
function number(score) {
  if (missingScore(score)) return "–";
  return score < 1e6 ? score.toFixed(2) : score.toExponential(2);
}

// A score of one item, 0 to 1.
function share(score) {
  if (missingScore(score)) return "–";
  return Number.isInteger(score) ? String(score) : score.toFixed(3).replace(/0+$/, "");
}
