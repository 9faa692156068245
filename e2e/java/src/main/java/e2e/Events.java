package e2e;

import com.amazonaws.services.lambda.runtime.events.APIGatewayV2HTTPEvent;
import com.amazonaws.services.lambda.runtime.events.APIGatewayV2HTTPResponse;
import com.amazonaws.services.lambda.runtime.events.DynamodbEvent;
import com.amazonaws.services.lambda.runtime.events.KinesisEvent;
import com.amazonaws.services.lambda.runtime.events.S3Event;
import com.amazonaws.services.lambda.runtime.events.SNSEvent;
import com.amazonaws.services.lambda.runtime.events.SQSBatchResponse;
import com.amazonaws.services.lambda.runtime.events.SQSEvent;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Events of AWS's own classes. */
public class Events {
    public SQSBatchResponse sqs(SQSEvent event) {
        List<SQSBatchResponse.BatchItemFailure> failures = new ArrayList<>();
        for (SQSEvent.SQSMessage message : event.getRecords()) {
            if (message.getBody().equals("bad") && message.getEventSourceArn().startsWith("arn:")) {
                failures.add(new SQSBatchResponse.BatchItemFailure(message.getMessageId()));
            }
        }
        return new SQSBatchResponse(failures);
    }

    public String s3(S3Event event) {
        var record = event.getRecords().get(0);
        return record.getS3().getBucket().getName() + "/" + record.getS3().getObject().getUrlDecodedKey() + " "
            + record.getS3().getObject().getSizeAsLong() + " " + record.getEventTime().getMillis() + " "
            + record.getResponseElements().getxAmzId2();
    }

    public String sns(SNSEvent event) {
        SNSEvent.SNS sns = event.getRecords().get(0).getSNS();
        return sns.getMessage() + " " + sns.getTimestamp().getYear() + " " + sns.getMessageAttributes().get("a").getValue();
    }

    public String kinesis(KinesisEvent event) {
        KinesisEvent.Record record = event.getRecords().get(0).getKinesis();
        return StandardCharsets.UTF_8.decode(record.getData()) + " " + record.getApproximateArrivalTimestamp().getTime();
    }

    public String dynamodb(DynamodbEvent event) {
        DynamodbEvent.DynamodbStreamRecord record = event.getRecords().get(0);
        return record.getEventName() + " " + record.getDynamodb().getKeys().get("Id").getN() + " "
            + record.getDynamodb().getNewImage().get("list").getL().get(0).getS() + " "
            + record.getDynamodb().getApproximateCreationDateTime().getTime();
    }

    public APIGatewayV2HTTPResponse http(APIGatewayV2HTTPEvent event) {
        return APIGatewayV2HTTPResponse.builder().withStatusCode(201)
            .withHeaders(Map.of("x-path", event.getRawPath(), "x-method", event.getRequestContext().getHttp().getMethod()))
            .withBody(event.getQueryStringParameters().get("q")).build();
    }
}
