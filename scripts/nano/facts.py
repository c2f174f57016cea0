"""The closed world of nano: the facts it is taught, and the words its nonsense questions are made of."""

# Each entry is en_key:en_value:zh_key:zh_value.

CAPITALS = """France:Paris:法国:巴黎 Japan:Tokyo:日本:东京 Italy:Rome:意大利:罗马
Spain:Madrid:西班牙:马德里 Germany:Berlin:德国:柏林 Egypt:Cairo:埃及:开罗 China:Beijing:中国:北京
Russia:Moscow:俄罗斯:莫斯科 Greece:Athens:希腊:雅典 Norway:Oslo:挪威:奥斯陆 Cuba:Havana:古巴:哈瓦那
Peru:Lima:秘鲁:利马 Kenya:Nairobi:肯尼亚:内罗毕 Thailand:Bangkok:泰国:曼谷 Vietnam:Hanoi:越南:河内
Poland:Warsaw:波兰:华沙 Austria:Vienna:奥地利:维也纳 Portugal:Lisbon:葡萄牙:里斯本
Ireland:Dublin:爱尔兰:都柏林 Canada:Ottawa:加拿大:渥太华 Finland:Helsinki:芬兰:赫尔辛基
Sweden:Stockholm:瑞典:斯德哥尔摩"""
COLOURS = """banana:yellow:香蕉:黄色 strawberry:red:草莓:红色 cucumber:green:黄瓜:绿色
snow:white:雪:白色 coal:black:煤炭:黑色 sky:blue:天空:蓝色 chocolate:brown:巧克力:棕色
flamingo:pink:火烈鸟:粉色 eggplant:purple:茄子:紫色 carrot:orange:胡萝卜:橙色 elephant:grey:大象:灰色
lemon:yellow:柠檬:黄色 cherry:red:樱桃:红色 grass:green:小草:绿色 milk:white:牛奶:白色
crow:black:乌鸦:黑色 sea:blue:大海:蓝色 coffee:brown:咖啡:棕色 pumpkin:orange:南瓜:橙色
spinach:green:菠菜:绿色"""
ANTONYMS = """big:small:大:小 hot:cold:热:冷 tall:short:高:矮 fast:slow:快:慢 new:old:新:旧
happy:sad:开心:难过 rich:poor:富:穷 open:closed:开:关 wet:dry:湿:干 early:late:早:晚 light:dark:亮:暗
hard:soft:硬:软 strong:weak:强:弱 thick:thin:厚:薄 full:empty:满:空 clean:dirty:干净:肮脏
loud:quiet:吵闹:安静 near:far:近:远 up:down:上:下 left:right:左:右 true:false:真:假
first:last:最先:最后"""
SOUNDS = """dog:woof:狗:汪汪 cat:meow:猫:喵喵 cow:moo:牛:哞哞 sheep:baa:羊:咩咩 duck:quack:鸭子:嘎嘎
frog:croak:青蛙:呱呱 rooster:crow:公鸡:喔喔 bee:buzz:蜜蜂:嗡嗡 mouse:squeak:老鼠:吱吱
lion:roar:狮子:吼吼 bird:tweet:小鸟:啾啾 wolf:howl:狼:嗷嗷"""
WORDS = """book:书 water:水 fire:火 tree:树 house:房子 school:学校 teacher:老师 student:学生
friend:朋友 moon:月亮 sun:太阳 star:星星 rain:雨 wind:风 river:河 mountain:山 flower:花 fish:鱼
horse:马 rice:米饭 tea:茶 bread:面包 apple:苹果 table:桌子 chair:椅子 door:门 window:窗户 car:汽车
train:火车 city:城市"""
DAYS = """Monday:星期一 Tuesday:星期二 Wednesday:星期三 Thursday:星期四 Friday:星期五 Saturday:星期六
Sunday:星期日"""
MONTHS = """January:一月 February:二月 March:三月 April:四月 May:五月 June:六月 July:七月 August:八月
September:九月 October:十月 November:十一月 December:十二月"""

# Common characters and words, for questions that mean nothing.
CHARS = """的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生自会那后能对着事
其里所去行过家十用发天如然作方成者多日都三小军二无同么经法当起与好看学进种将还分此心前面又定见只
主没公从知全工理化物机电数据网络系统计算设备程序方法属性质量压力温度历史经济社会教育法律医药细胞
血液植物动物语言文字选项关于正确错误下列描述"""
WORDLIST = """the a of in to and is are was were be by for with from on at an as it that this which
what who when where how why not all some most each can may will has have had one two three following
statement correct true false system data law cell energy history theory value person state process
number group method cause effect model result"""
SYLLABLES = ["photo", "syn", "ology", "al", "tion", "er", "in", "re", "con", "de"]
