package client_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/otelcol-witness/otelcol-witness/client"
)

func Example() {
	c, err := client.New("http://localhost:8686")
	if err != nil {
		log.Fatal(err)
	}
	score, err := c.Score(context.Background(), "GO-2023-1988")
	switch {
	case client.IsStatus(err, http.StatusNotFound):
		fmt.Println("there is no such finding")
	case err != nil:
		log.Fatal(err)
	case score.Observed:
		fmt.Printf("it ran: %s, %.2f\n", score.Band, score.Score)
	default:
		fmt.Printf("nothing seen, which is no verdict: coverage is %.2f\n", score.Coverage)
	}
}

func ExampleClient_AllTraces() {
	c, err := client.New("https://witness.example", client.WithBearer(os.Getenv("WITNESS_TOKEN")))
	if err != nil {
		log.Fatal(err)
	}
	calls := client.TracesQuery{Kinds: []client.Kind{client.Call}, Sort: "id"}
	for trace, err := range c.AllTraces(context.Background(), "GO-2023-1988", calls) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(trace.Frames[0].Symbol, trace.Hits)
	}
}

func ExampleClient_PostTraces() {
	c, err := client.New("http://localhost:8686")
	if err != nil {
		log.Fatal(err)
	}
	answer, err := c.PostTraces(context.Background(), "GO-2023-1988", "", client.PostedTrace{
		Kind: client.Call, LastSeen: time.Now(),
		Frames: []client.PostedFrame{{Symbol: "golang.org/x/net/html.Render", Language: "go", Module: "/usr/bin/app"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, rejected := range answer.Rejected {
		fmt.Println(rejected.Index, rejected.Reason)
	}
}
