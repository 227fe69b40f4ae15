package config

import (
	"strconv"
	"strings"
	"time"
)

// boxed makes an access to a field of a service's box.
func boxed[V any](field func(*Box) *V) func(*Service) *V {
	return func(s *Service) *V { return field(s.Box) }
}

func boxBool(name, usage string, field func(*Box) *bool) key[Service] {
	return boolKey(name, usage, boxed(field))
}

func boxPaths(name string, parse func(string) (string, error), usage string, field func(*Box) *[]string) key[Service] {
	return listKey(name, "PATH", usage, boxed(field), parse, formatText)
}

// orInteger makes a key of strings that takes integers as well, in TOML: people
// write both 64 and "64M".
func orInteger[T any](k key[T]) key[T] {
	decode := k.decode
	k.decode = func(r *reader, to *T, n *node) {
		if n.kind == kindInteger {
			if v, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 0, 64); err == nil {
				text := *n
				text.kind, text.text = kindText, strconv.FormatInt(v, 10)
				n = &text
			}
		}
		decode(r, to, n)
	}
	return k
}

// emptyByFlag makes a key whose list is empty if its only flag is: there is no
// other way to give a flag no items.
func emptyByFlag(k key[Service]) key[Service] {
	decode := k.decode
	k.decode = func(r *reader, to *Service, n *node) {
		if len(n.items) == 1 && n.items[0].text == "" && !n.items[0].at.IsValid() {
			n = &node{at: n.at, kind: kindList}
		}
		decode(r, to, n)
	}
	return k
}

// boxNames makes a key whose list means something else when it is empty than
// when it is nil. A word, as the only item, stands for nil.
func boxNames(name, value, usage, word string, field func(*Box) *[]string, parse func(string) (string, error)) key[Service] {
	k := listKey(name, value, usage, boxed(field), parse, formatText)
	decode, format := k.decode, k.format
	k.decode = func(r *reader, to *Service, n *node) {
		list := field(to.Box)
		if len(n.items) == 1 && n.items[0].kind == kindText && n.items[0].text == word {
			*list = nil
			return
		}
		decode(r, to, n)
		if *list == nil {
			*list = []string{}
		}
	}
	k.format = func(s *Service) (string, bool) {
		if *field(s.Box) == nil {
			return "[" + tomlString(word) + "]", true
		}
		return format(s)
	}
	return emptyByFlag(k)
}

// boxPresetKey makes the key preset. It must be decoded before all others of the
// box, because it sets them.
func boxPresetKey() key[Service] {
	k := choiceKey("preset", "what the other keys of the box start from: `PRESET` is none (no box; the default of programs), basic (what costs programs nothing that they need) or strict (a connection has its program, and reads files that everybody may read)",
		boxed(func(b *Box) *BoxPreset { return &b.Preset }), BoxNone, BoxBasic, BoxStrict)
	decode := k.decode
	k.decode = func(r *reader, to *Service, n *node) {
		before := len(*r.errs)
		decode(r, to, n)
		if len(*r.errs) == before {
			*to.Box = PresetBox(to.Box.Preset)
		}
	}
	return k
}

// limitKeys makes a key for each resource of setrlimit(2).
func limitKeys() []key[Service] {
	var keys []key[Service]
	for _, l := range []struct{ resource, value, usage string }{
		{"nofile", "N", "descriptors"},
		{"nproc", "N", "processes of the user"},
		{"as", "SIZE", "a process's address space"},
		{"cpu", "N", "seconds of CPU time of a process"},
		{"fsize", "SIZE", "a file that a process writes"},
		{"core", "SIZE", "a core dump"},
		{"stack", "SIZE", "a process's stack"},
		{"data", "SIZE", "a process's data"},
		{"memlock", "SIZE", "memory that a process locks"},
		{"rss", "SIZE", "resident memory; Linux does not enforce it"},
		{"locks", "N", "locks of files; Linux does not enforce it"},
		{"sigpending", "N", "pending signals of the user"},
		{"msgqueue", "SIZE", "POSIX message queues of the user"},
		{"nice", "N", "20 less the lowest nice value that a process may give itself"},
		{"rtprio", "N", "realtime priority"},
		{"rttime", "N", "microseconds of CPU time that a realtime process takes without a pause"},
	} {
		keys = append(keys, limitKey(l.resource, l.value, l.usage))
	}
	return keys
}

func limitKey(resource, value, usage string) key[Service] {
	name := limitPrefix + resource
	k := key[Service]{
		name: name, value: value, kind: kindText,
		usage: usage + " (resource limit `" + value + "`, soft:hard or infinity)",
		decode: func(r *reader, to *Service, n *node) {
			if !r.expect(name, n, kindText) {
				return
			}
			if n.text == "" {
				delete(to.Box.Limits, resource)
				return
			}
			l, err := parseLimit(resource, n.text)
			if err != nil {
				r.report(name, n, "%v", err)
				return
			}
			if to.Box.Limits == nil {
				to.Box.Limits = map[string]Limit{}
			}
			to.Box.Limits[resource] = l
		},
		format: func(s *Service) (string, bool) {
			if l, set := s.Box.Limits[resource]; set {
				return tomlString(formatLimit(resource, l)), true
			}
			return `""`, true
		},
	}
	return orInteger(k)
}

// limitPrefix begins the keys of resource limits.
const limitPrefix = "limit-"

// cgroupKeys makes the keys of a cgroup: of a connection, or with servicePrefix
// of all of a service.
func cgroupKeys(prefix, of string, field func(*Box) *CgroupLimits) []key[Service] {
	memory := func(name, usage string, get func(*CgroupLimits) *ByteSize) key[Service] {
		return orInteger(parsedKey(prefix+name, "SIZE", usage, boxed(func(b *Box) *ByteSize { return get(field(b)) }), parseMemory, formatMemory))
	}
	number := func(name, value, usage string, get func(*CgroupLimits) *int, parse func(string) (int, error), format func(int) string) key[Service] {
		return orInteger(parsedKey(prefix+name, value, usage, boxed(func(b *Box) *int { return get(field(b)) }), parse, format))
	}
	weight := func(name, usage string, get func(*CgroupLimits) *int) key[Service] {
		return integerKey(prefix+name, usage, 0, 10000, boxed(func(b *Box) *int { return get(field(b)) }))
	}
	return []key[Service]{
		memory("memory-max", "memory of "+of+", at most `SIZE`: what goes beyond is killed; needs cgroup v2, as all limits of this kind", func(c *CgroupLimits) *ByteSize { return &c.MemoryMax }),
		memory("memory-high", "memory of "+of+": what uses more than `SIZE` is slowed down, and its caches are taken", func(c *CgroupLimits) *ByteSize { return &c.MemoryHigh }),
		orInteger(parsedKey(prefix+"memory-swap-max", "SIZE", "swap of "+of+", at most `SIZE`; 0 is none",
			boxed(func(b *Box) **ByteSize { return &field(b).MemorySwapMax }), parseSwap, formatSwap)),
		number("tasks-max", "N", "processes and threads of "+of+", at most `N`", func(c *CgroupLimits) *int { return &c.TasksMax }, parseTasks, formatTasks),
		number("cpu-quota", "PERCENT", "CPU time of "+of+", at most `PERCENT` of one processor, such as \"50%\"; two processors are \"200%\"",
			func(c *CgroupLimits) *int { return &c.CPUQuota }, parseQuota, formatQuota),
		weight("cpu-weight", "share of CPU time of "+of+" beside others where there is not enough, from 1 to 10000; 0 leaves the kernel's own, which is 100", func(c *CgroupLimits) *int { return &c.CPUWeight }),
		weight("io-weight", "share of disk time of "+of+", as cpu-weight", func(c *CgroupLimits) *int { return &c.IOWeight }),
	}
}

// servicePrefix begins the keys of the cgroup of all of a service.
const servicePrefix = "service-"

// runtimeMaxKey sets max-lifetime of the service.
func runtimeMaxKey() key[Service] {
	k := durationKey("runtime-max", "end a connection's worker after `DURATION`: another name of the service's max-lifetime",
		func(s *Service) *time.Duration { return &s.MaxLifetime })
	return formattedIf(k, neverFormatted)
}

// boxOOMScoreAdjustKey sets oom-score-adjust of the service.
func boxOOMScoreAdjustKey() key[Service] {
	k := oomScoreAdjustKey()
	k.usage = "adjust the OOM score to `N`: another name of the service's oom-score-adjust"
	return formattedIf(k, neverFormatted)
}

func neverFormatted(*Service) bool { return false }

// niceKey is a number or the word auto, which stands for none.
func niceKey() key[Service] {
	return autoKey(integerKey("nice", "give workers the nice value `N`, from -20 (the most CPU time) to 19; auto, the default, is preforkd's own", -20, 19,
		func(s *Service) *int { return &s.Box.Nice.Value }), func(s *Service) *OptionalInt { return &s.Box.Nice })
}

// requireKey is not printed: optional says the same.
func requireKey() key[Service] {
	return formattedIf(textsKey("require", "KEY", "the keys of the box that must be had; all others may be missing on this machine (default all). optional says the same the other way round",
		func(s *Service) *[]string { return &s.boxRequire }), neverFormatted)
}
