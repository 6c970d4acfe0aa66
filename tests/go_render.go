// Renders Go templates as Ollama does: a map with System, Messages (of Role and Content) and Response.
// Standard input: [{"template": …, "conversations": [[{"role": …, "content": …}, …], …]}, …]; output: [[…], …].
package main

import (
	"encoding/json"
	"log"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

type work struct {
	Template      string
	Conversations [][]message
}

func main() {
	var all []work
	if err := json.NewDecoder(os.Stdin).Decode(&all); err != nil {
		log.Fatal(err)
	}
	var rendered [][]string
	for _, one := range all {
		parsed, err := template.New("").Option("missingkey=zero").Parse(one.Template)
		if err != nil {
			log.Fatal(err)
		}
		var texts []string
		for _, messages := range one.Conversations {
			var system []string
			for _, m := range messages {
				if m.Role == "system" {
					system = append(system, m.Content)
				}
			}
			var out strings.Builder
			data := map[string]any{"System": strings.Join(system, "\n\n"), "Messages": messages, "Response": ""}
			if err := parsed.Execute(&out, data); err != nil {
				log.Fatal(err)
			}
			texts = append(texts, out.String())
		}
		rendered = append(rendered, texts)
	}
	if err := json.NewEncoder(os.Stdout).Encode(rendered); err != nil {
		log.Fatal(err)
	}
}
