"""Chat templates of the kinds that are in use, for the tests of exports."""

from __future__ import annotations

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}" + CHATML
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
INST_FIRST = (
    "{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}"
    "{% set ns.system = '<<SYS>>\n' + m.content + '\n<</SYS>>\n\n' %}{% elif m.role == 'user' %}"
    "{{ bos_token + '[INST] ' + ns.system + m.content.strip() + ' [/INST]' }}{% set ns.system = '' %}"
    "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
INST_LAST = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{{ bos_token }}{% for m in rest %}{% if m.role == 'user' %}"
    "[INST] {% if loop.last and system is defined %}{{ system + '\n\n' }}{% endif %}{{ m.content }}[/INST]"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}{% else %}"
    "{{ raise_exception('user and assistant only') }}{% endif %}{% endfor %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
THOUGHTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{{ m.content.split('</think>')[-1].lstrip('\n') if m.role == 'assistant' else m.content }}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
MASKED = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' }}{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content + eos_token }}{% endgeneration %}{% else %}{{ m.content + eos_token }}{% endif %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
ODD_TEXT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ '\"\"\"\u00a0{{\r' + m.content + '{' }}"
    "{% elif m.role == 'user' %}{{ '\"' + m.content + '}} \\\\n' }}{% else %}{{ m.content + '\"' }}{% endif %}"
    "{% endfor %}{{ '{' }}"
)
EXPRESSIBLE = {
    "chatml": CHATML, "default_system": DEFAULT_SYSTEM, "headers": HEADERS, "inst_first": INST_FIRST,
    "inst_last": INST_LAST, "no_system": NO_SYSTEM, "thoughts": THOUGHTS, "masked": MASKED, "odd_text": ODD_TEXT,
}  # fmt: skip
NOT_EXPRESSIBLE = {
    "upper": CHATML.replace("{{ m['content'] }}", "{{ m['content'] | upper }}"),
    "numbered": CHATML.replace("{{ m['role'] }}", "{{ m['role'] }} {{ loop.index }}"),
    "by_length": CHATML.replace("<|im_end|>", "{{ m['content'] | length }}"),
    "short": CHATML.replace("{{ m['content'] }}", "{{ m['content'][:20] }}"),
    "rare": CHATML.replace("<|im_end|>", "{% if '{% if' in m['content'] %}!{% endif %}<|im_end|>"),
}
