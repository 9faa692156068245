package ephyra.runtime;

import java.util.Collections;
import java.util.HashMap;
import java.util.Map;

/**
 * Where AWS's event classes have other names than their JSON, which is written as services send it. A property that is
 * not here is called the same in both.
 */
final class EventNames {
    private static final String EVENTS = "com.amazonaws.services.lambda.runtime.events.";
    /** The older event classes take some of their parts from the SDK. */
    private static final String[] DYNAMODB = {EVENTS + "models.dynamodb.", "com.amazonaws.services.dynamodbv2.model."};
    private static final String[] S3 = {
        EVENTS + "models.s3.S3EventNotification", "com.amazonaws.services.s3.event.S3EventNotification"};

    private static final Map<String, Map<String, String>> NAMES = new HashMap<>();

    static {
        for (String event : new String[] {
            "CloudFrontEvent", "CodeCommitEvent", "DynamodbEvent", "DynamodbTimeWindowEvent", "KinesisEvent",
            "KinesisTimeWindowEvent", "SQSEvent", "S3Event"}) {
            put(EVENTS + event, "records", "Records");
        }
        put(EVENTS + "DynamodbTimeWindowEvent", "eventSourceArn", "eventSourceARN");
        put(EVENTS + "KinesisTimeWindowEvent", "eventSourceArn", "eventSourceARN");
        put(EVENTS + "SQSEvent$SQSMessage", "eventSourceArn", "eventSourceARN");
        put(EVENTS + "CloudWatchLogsEvent", "awsLogs", "awslogs");
        put(EVENTS + "ScheduledEvent", "detailType", "detail-type");
        put(EVENTS + "CodeCommitEvent$Record",
            "codeCommit", "codecommit", "eventSourceArn", "eventSourceARN", "userIdentityArn", "userIdentityARN");
        put(EVENTS + "ConnectEvent", "details", "Details", "name", "Name");
        put(EVENTS + "ConnectEvent$Details", "contactData", "ContactData", "parameters", "Parameters");
        put(EVENTS + "ConnectEvent$CustomerEndpoint", "address", "Address", "type", "Type");
        put(EVENTS + "ConnectEvent$SystemEndpoint", "address", "Address", "type", "Type");
        put(EVENTS + "ConnectEvent$ContactData",
            "attributes", "Attributes", "channel", "Channel", "contactId", "ContactId", "customerEndpoint",
            "CustomerEndpoint", "initialContactId", "InitialContactId", "initiationMethod", "InitiationMethod",
            "instanceArn", "InstanceARN", "previousContactId", "PreviousContactId", "queue", "Queue",
            "systemEndpoint", "SystemEndpoint");
        put(EVENTS + "SecretsManagerRotationEvent",
            "step", "Step", "secretId", "SecretId", "clientRequestToken", "ClientRequestToken");
        put(EVENTS + "CloudFormationCustomResourceEvent",
            "requestType", "RequestType", "serviceToken", "ServiceToken", "physicalResourceId", "PhysicalResourceId",
            "responseUrl", "ResponseURL", "stackId", "StackId", "requestId", "RequestId", "logicalResourceId",
            "LogicalResourceId", "resourceType", "ResourceType", "resourceProperties", "ResourceProperties",
            "oldResourceProperties", "OldResourceProperties");
        for (String models : DYNAMODB) {
            put(models + "AttributeValue", "s", "S", "n", "N", "b", "B", "m", "M", "l", "L");
            put(models + "StreamRecord",
                "keys", "Keys", "sizeBytes", "SizeBytes", "sequenceNumber", "SequenceNumber", "streamViewType",
                "StreamViewType", "newImage", "NewImage", "oldImage", "OldImage", "approximateCreationDateTime",
                "ApproximateCreationDateTime");
        }
        for (String models : S3) {
            put(models, "records", "Records");
            put(models + "$ResponseElementsEntity", "xAmzId2", "x-amz-id-2", "xAmzRequestId", "x-amz-request-id");
            put(models + "$S3ObjectEntity", "sizeAsLong", null);
        }
    }

    private EventNames() {
    }

    private static void put(String type, String... pairs) {
        Map<String, String> names = NAMES.get(type);
        if (names == null) {
            NAMES.put(type, names = new HashMap<>());
        }
        for (int i = 0; i < pairs.length; i += 2) {
            names.put(pairs[i], pairs[i + 1]);
        }
    }

    /** The name in JSON of a property of `type`; null when JSON has none for it. */
    static String of(Class<?> type, String property) {
        String name = type.getName();
        if (!name.startsWith("com.amazonaws.")) {
            return property;
        }
        if (name.startsWith(EVENTS + "SNSEvent")) {
            // Whether the property is called `sns` or `SNS`.
            String camel = property.equals("SNS") ? "sns" : property;
            return Character.toUpperCase(camel.charAt(0)) + camel.substring(1);
        }
        for (Class<?> at = type; at != null; at = at.getSuperclass()) {
            Map<String, String> names = NAMES.getOrDefault(at.getName(), Collections.<String, String>emptyMap());
            if (names.containsKey(property)) {
                return names.get(property);
            }
        }
        return property;
    }

    /** Whether values of `type` are made by a constructor whose parameters are its fields, in their order. */
    static boolean isConstructed(Class<?> type) {
        String name = type.getName();
        return name.equals(EVENTS + "S3Event") || name.startsWith(S3[0]) || name.startsWith(S3[1]);
    }

    /** Whether dates in `type` are seconds since 1970, as AWS's services write them. */
    static boolean hasSeconds(Class<?> type) {
        return type.getName().startsWith(EVENTS) || type.getName().startsWith(DYNAMODB[1]);
    }
}
